package snapshot

// Placed is a pod whose place the decision under way has changed, while the cluster has not.
type Placed struct {
	Pod  *Pod
	Node *Node // where the decision put it; nil: it has left its node (a victim)

	// Serial names, within one decision, this change and all that were made before it: two lists
	// whose last changes have the same one are equal. Zero: not numbered.
	Serial uint64
}
