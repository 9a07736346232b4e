// Package fetch gets pages and files by HTTP for those that know what to do with them: patience with slow
// networks, further tries, transfers that go on where they ended, sizes and hashes, redirects, secrets.
//
// A file comes into a part, which Client.File returns only when it is whole and has the hash it should have;
// giving it its name is the caller's. What has come stays for the next call, also of another process, unless
// it is wrong, cannot be told from wrong, or fills the disk. Two calls must not share a part: callers lock.
// Headers such as Authorization go to the host they were meant for alone, and neither passwords nor the
// signed queries of addresses get into an error.
//
// Nothing here may know a server, a layout of folders, a flag or a format, nor write but to the part.
package fetch
