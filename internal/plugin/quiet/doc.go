// Package quiet sends what go-xla logs to the debug log, for whoever imports it.
//
// go-xla logs by klog to standard error: what it returns as an error too, and some of it while its packages
// are initialised, such as a line about a missing /etc/ld.so.conf. To come before that, the settings are made
// in an init of this package, which is apart from internal/plugin because Go initialises packages in the order
// of their import paths as far as dependencies allow: this one needs no more than klog, as go-xla does, and its
// path sorts before go-xla's. Nothing else may live here, and nothing more may be imported.
package quiet
