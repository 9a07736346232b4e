// Package hugepages has what a plugin computes in lie on large pages (docs/decisions/0035-huge-pages.md). It is enough to
// import it.
package hugepages
