// Package purchase measures what it costs to plan purchases, and how good they are: beside Cluster
// Autoscaler's own estimator on the same pods and templates in the same run, and beside the least that
// brute force finds on small cases.
package purchase
