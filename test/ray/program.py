"""A program that waits for more than its cluster has, in every way that Ray knows.

program.py ADDRESS prints "waiting" when all is asked for, and ends when its input does.
"""

import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")


@ray.remote
class Actor:
    def here(self):
        return True


@ray.remote
def task():
    import time

    time.sleep(3600)


kept = []

# One worker is busy: an actor and a placement group hold what only it has.
busy = Actor.options(num_cpus=0, resources={"busy": 1}).remote()
ray.get(busy.here.remote())
placed = placement_group([{"CPU": 1, "busy": 1}], strategy="PACK")
ray.get(placed.ready())
inside = PlacementGroupSchedulingStrategy(placement_group=placed)
kept += [task.options(num_cpus=1, scheduling_strategy=inside).remote() for _ in range(3)]

# Tasks and actors that wait.
kept += [task.options(num_cpus=1, num_gpus=4).remote() for _ in range(5)]
kept += [task.options(num_cpus=1, num_gpus=1, accelerator_type="A10G").remote() for _ in range(2)]
kept += [task.options(num_cpus=1, resources={"license": 0.5}).remote()]
kept += [task.options(num_cpus=1, num_gpus=1, label_selector={"zone": "in(a,b)"}).remote()]
kept += [Actor.options(num_cpus=16, memory=2**40).remote()]

# Placement groups that wait.
kept += [
    placement_group([{"GPU": 1, "CPU": 1}] * 4, strategy="STRICT_SPREAD"),
    placement_group([{"GPU": 1}] * 3, strategy="STRICT_PACK"),
    placement_group([{"GPU": 2}] * 2, strategy="PACK"),
]

print("waiting", flush=True)
sys.stdin.read()
