// Package gcs asks the heads of RayClusters what their programs wait for and what their nodes do,
// and asks nodes to drain.
//
// A head's GCS answers whether or not Ray's own autoscaler runs. It is not a promised interface, it
// is another program in the user's namespace, and it may be slow, dead or in the middle of a
// restart: so nothing here ever waits for a head but a bounded number of workers, and what is known
// is the last good answer with its age.
package gcs
