// Package runreport shows a finished run as one HTML page: what it is, its settings, its data, how it learned, how well it
// predicts and where it is wrong, what its adapter added to the model, and what it cost.
//
// It reads a run through package train alone, measures it anew on the examples that it is given, and writes nothing but the
// page. The same run and the same examples give the same bytes.
package runreport
