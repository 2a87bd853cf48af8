package state

import (
	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	queuev2 "github.com/capmgr/capmgr/api/queue/v2"
	"github.com/capmgr/capmgr/api/v1alpha1"
	"github.com/capmgr/capmgr/pkg/fit"
)

// Pods returns the handler for the informer of all pods.
func (m *Mirror) Pods() cache.ResourceEventHandler {
	return handle(func(p *corev1.Pod) {
		converted := m.convert(p)
		m.note(func() {
			if finished(p) {
				m.rejections.note(m.pods[p.UID], p)
				m.forgetPod(p.UID)
				return
			}
			converted.keeps, converted.guards = m.drainer.Keeps(p), m.drainer.Guards(p)
			m.kept.enter(m.pods[p.UID], converted)
			m.pods[p.UID] = converted
			if delete(m.shown, p.UID); shown(converted) {
				m.shown[p.UID] = true
			}
			if p.Spec.NodeName != "" {
				delete(m.assumed, p.UID)
			}
		})
	}, func(p *corev1.Pod) {
		m.note(func() { m.forgetPod(p.UID) })
	})
}

func (m *Mirror) forgetPod(uid types.UID) {
	m.kept.leave(m.pods[uid])
	delete(m.pods, uid)
	delete(m.assumed, uid)
	delete(m.leaving, uid)
	delete(m.shown, uid)
}

func (m *Mirror) convert(p *corev1.Pod) *pod {
	out := &pod{object: p, request: fit.Requests(p), ours: m.schedulerNames[p.Spec.SchedulerName]}
	out.class, out.alone = fit.PodClass(p)
	if ref := metav1.GetControllerOf(p); ref != nil {
		out.owner, out.ownerKind, out.ofApps = ref.UID, ref.Kind, ofApps(ref)
	}
	return out
}

// Nodes returns the handler for the informer of all nodes.
func (m *Mirror) Nodes() cache.ResourceEventHandler {
	return handle(func(n *corev1.Node) {
		m.note(func() {
			m.nodes[n.Name] = n
			if delete(m.intents, n.Name); n.Annotations[v1alpha1.IntentAnnotation] != "" {
				m.intents[n.Name] = n.Annotations[v1alpha1.IntentAnnotation]
			}
			m.kept.nodes[n.Name] = true
		})
	}, func(n *corev1.Node) {
		m.note(func() {
			m.kept.nodes[n.Name] = true
			delete(m.nodes, n.Name)
			delete(m.intents, n.Name)
			delete(m.idle, n.Name)
			delete(m.boots, n.Name)
			delete(m.draining, n.Name)
		})
	})
}

// Queues returns the handler for the informer of queues.
func (m *Mirror) Queues() cache.ResourceEventHandler {
	return handle(func(q *queuev2.Queue) {
		m.note(func() { m.queues[q.Name], m.kept.queuesChanged = q, true })
	}, func(q *queuev2.Queue) {
		m.note(func() {
			delete(m.queues, q.Name)
			m.kept.queuesChanged = true
		})
	})
}

// RayClusters returns the handler for the informer of RayClusters.
func (m *Mirror) RayClusters() cache.ResourceEventHandler {
	return handle(func(rc *rayv1.RayCluster) {
		m.note(func() { m.putCluster(rc) })
	}, func(rc *rayv1.RayCluster) {
		m.note(func() { m.dropCluster(rc) })
	})
}

// RayJobs returns the handler for the informer of RayJobs.
func (m *Mirror) RayJobs() cache.ResourceEventHandler {
	return handle(func(j *rayv1.RayJob) {
		m.note(func() {
			m.rayJobs[j.UID] = j
			m.touchRayJob(j)
			if on, selects := selectedBy(j); selects {
				enlist(m.selecting, on, j.UID)
			}
		})
	}, func(j *rayv1.RayJob) {
		m.note(func() {
			delete(m.rayJobs, j.UID)
			m.touchRayJob(j)
			if on, selects := selectedBy(j); selects {
				delist(m.selecting, on, j.UID)
			}
		})
	})
}

// touchRayJob marks what a RayJob that changed may have changed: its own gang, or that of the RayCluster
// that it selects.
func (m *Mirror) touchRayJob(j *rayv1.RayJob) {
	m.kept.units[j.UID] = true
	if on, selects := selectedBy(j); selects {
		for uid := range m.named[on] {
			m.kept.units[uid] = true
		}
	}
}

// RayServices returns the handler for the informer of RayServices.
func (m *Mirror) RayServices() cache.ResourceEventHandler {
	return handle(func(s *rayv1.RayService) {
		m.note(func() {
			m.services[s.UID] = s
			m.kept.units[s.UID] = true
		})
	}, func(s *rayv1.RayService) {
		m.note(func() {
			delete(m.services, s.UID)
			m.kept.units[s.UID] = true
		})
	})
}

// Jobs returns the handler for the informer of batch Jobs.
func (m *Mirror) Jobs() cache.ResourceEventHandler {
	return handle(func(j *batchv1.Job) {
		m.note(func() {
			m.jobs[j.UID] = j
			m.kept.units[j.UID] = true
			if of := controlledBy(j, "RayJob"); of != "" {
				enlist(m.submit, of, j.UID)
			}
		})
	}, func(j *batchv1.Job) {
		m.note(func() {
			delete(m.jobs, j.UID)
			m.kept.units[j.UID] = true
			if of := controlledBy(j, "RayJob"); of != "" {
				delist(m.submit, of, j.UID)
			}
		})
	})
}

// PriorityClasses returns the handler for the informer of priority classes.
func (m *Mirror) PriorityClasses() cache.ResourceEventHandler {
	return handle(func(c *schedulingv1.PriorityClass) {
		m.update(func() { m.classes[c.Name] = c })
	}, func(c *schedulingv1.PriorityClass) {
		m.update(func() { delete(m.classes, c.Name) })
	})
}

// CapacityRequests returns the handler for the informer of CapacityRequests.
func (m *Mirror) CapacityRequests() cache.ResourceEventHandler {
	return handle(m.setRequest, func(r *v1alpha1.CapacityRequest) {
		m.update(func() {
			delete(m.requests, types.NamespacedName{Namespace: r.Namespace, Name: r.Name})
			m.past[r.UID] = r
		})
	})
}

func finished(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// handle makes an event handler out of what to do with an object that is there and one that is
// gone. A deletion that the watch missed arrives as a tombstone with the last known object, or, where there
// is another object of that name by then, as a change from the one to the other.
func handle[T metav1.Object](there, gone func(T)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(o any) {
			if t, ok := o.(T); ok {
				there(t)
			}
		},
		UpdateFunc: func(old, o any) {
			t, ok := o.(T)
			if !ok {
				return
			}
			if before, ok := old.(T); ok && before.GetUID() != t.GetUID() {
				gone(before)
			}
			there(t)
		},
		DeleteFunc: func(o any) {
			if tombstone, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = tombstone.Obj
			}
			if t, ok := o.(T); ok {
				gone(t)
			}
		},
	}
}
