// Package scaling decides about nodes: what each node group could still deliver, within which
// bounds it may be bought, how far the purchases under way have come, and which idle nodes go back.
//
// It is pure: the scheduler asks it for offers before it places gangs and for releases after.
package scaling
