// Package ray holds what is believed of Ray against a real one: a head and raylets on this machine,
// without a cluster. make test-ray brings it; without, the tests are skipped.
package ray
