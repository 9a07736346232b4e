package train

// maxrssUnit is the unit of Rusage.Maxrss in bytes: macOS counts bytes.
const maxrssUnit = 1
