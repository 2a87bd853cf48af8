package v1alpha1

// Names and values of the priority classes that deploy/base installs. Existing
// manifests name them, so neither may change.
const (
	// PriorityClassTrain is for training, and for all Ray kinds that name no class.
	PriorityClassTrain = "train"
	// PriorityTrain is the value of PriorityClassTrain.
	PriorityTrain = 50
	// PriorityClassBuildPreemptible is for interactive work that may be evicted.
	PriorityClassBuildPreemptible = "build-preemptible"
	// PriorityBuildPreemptible is the value of PriorityClassBuildPreemptible.
	PriorityBuildPreemptible = 75
	// PriorityClassBuild is for interactive work that may not be evicted.
	PriorityClassBuild = "build"
	// PriorityBuild is the value of PriorityClassBuild.
	PriorityBuild = 100
	// PriorityClassInference is for serving.
	PriorityClassInference = "inference"
	// PriorityInference is the value of PriorityClassInference.
	PriorityInference = 125

	// NonPreemptiblePriority is the lowest priority of work that is never evicted
	// for other work. Such work is confined to its queue's quota.
	NonPreemptiblePriority = 100
)
