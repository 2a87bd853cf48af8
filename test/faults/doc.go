// Package faults runs the real mirror, decision, executor and loop in virtual time, on a cluster and a
// cloud that are played, and breaks whatever can break between any two effects.
//
// TestFaults draws worlds: queues, bounds, node groups, and what users, the market, administrators and
// other schedulers do. Every call of the manager may fail, succeed without an answer, meet a conflict,
// take long, or be the one at which the manager dies; machines come late, without GPUs, or never. Faults
// end after a while; then everything must come to rest, and nothing may be left over. What must hold at
// every moment is in bounds_test.go and invariants_test.go, and is computed from the objects alone.
//
// TestCrashAtEveryEffect is not random: fixed plays, and the manager dies at each call that changes
// something, one after the other.
//
// A run is a function of its seed. Every goroutine of the manager meets the outside through calls
// whose duration follows from the seed, to the nanosecond and each its own, so that in the virtual
// time of testing/synctest hardly ever two of them are awake at once.
//
// testdata/seeds are those that ever failed, testdata/worker-seeds the same of worker groups.
package faults
