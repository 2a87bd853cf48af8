// Package scheduler is the decision: which gangs run now and where, what is bought for those that
// find no room, what is given back, and why everything else waits.
//
// Decide is a pure function of a snapshot. It places gangs one after the other in a fixed order on
// one account of the free room, so that what one gang takes or waits for, the next does not see:
//
//  1. ledger:  what every queue uses, from its bound pods
//  2. room:    free room on usable nodes, then on nodes that are coming, then on what can be bought
//  3. place:   gang by gang: on free room, else on coming room, else by buying, else a verdict
//  4. release: idle nodes that nothing above wants, by name
package scheduler
