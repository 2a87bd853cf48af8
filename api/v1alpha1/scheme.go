package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version under which CapacityRequest is served.
var GroupVersion = schema.GroupVersion{Group: "capmgr.io", Version: "v1alpha1"}

// SchemeBuilder collects the registration of this package's kinds.
var SchemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)

// AddToScheme registers CapacityRequest and CapacityRequestList, so that clients
// and caches can decode them.
var AddToScheme = SchemeBuilder.AddToScheme

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion, &CapacityRequest{}, &CapacityRequestList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
