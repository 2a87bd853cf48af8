// Package faults runs the real mirror, decision, executor and loop in virtual time, on a cluster
// and a cloud that are played, with random faults between any two effects: refusals, partial fills,
// throttling, lost answers, slow and broken machines, API errors and conflicts, lost machines,
// others' hands on a group, and crashes of the manager at any call. Faults end after a while; then
// everything must come to rest, and nothing may be left over.
//
// A run is a function of its seed. Every goroutine of the manager meets the outside through calls
// whose duration follows from the seed, to the nanosecond and each its own, so that in the virtual
// time of testing/synctest hardly ever two of them are awake at once.
package faults
