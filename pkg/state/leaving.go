package state

import "k8s.io/apimachinery/pkg/types"

// departure is how certain it is that a pod leaves that nobody has been seen to delete.
type departure int

const (
	staying departure = iota
	asked             // it will, as soon as it has finished
	evicted           // it is being deleted
)

// AssumeEvicted records that capmgr has evicted pods, until the informer shows it.
func (m *Mirror) AssumeEvicted(pods []types.UID) { m.assume(pods, evicted) }

// AssumeLeaving records that capmgr has asked pods to leave, who finish what they do first. Decisions count
// with their room, and not yet with their quota.
func (m *Mirror) AssumeLeaving(pods []types.UID) { m.assume(pods, asked) }

// AssumeStaying takes back AssumeLeaving: the pods go on.
func (m *Mirror) AssumeStaying(pods []types.UID) { m.assume(pods, staying) }

func (m *Mirror) assume(pods []types.UID, how departure) {
	if len(pods) == 0 {
		return
	}
	m.note(func() {
		for _, uid := range pods {
			p := m.pods[uid]
			switch {
			case how == staying:
				delete(m.leaving, uid)
			case p == nil || p.object.DeletionTimestamp != nil:
				continue
			default:
				m.leaving[uid] = max(m.leaving[uid], how)
			}
			if p != nil {
				m.kept.units[keyOf(p)] = true
			}
		}
	})
}
