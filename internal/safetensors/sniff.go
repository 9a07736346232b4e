package safetensors

import "bytes"

const sniffBytes = 64

// strangers are what people hand to a safetensors reader by mistake, by their first bytes.
var strangers = []struct{ start, what string }{
	{"PK\x03\x04", "this is a zip archive, most likely a PyTorch checkpoint (.bin, .pt); convert it to safetensors, pickles are not read"},
	{"\x80\x02", pickle},
	{"\x80\x03", pickle},
	{"\x80\x04", pickle},
	{"\x80\x05", pickle},
	{"version https://git-lfs", "this is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"},
	{"<", "this is a web page (HTML or XML), not the file itself; the download got an error or login page, get it again"},
	{"{", "this is JSON text; if it is an index of shards or a config, name the .safetensors file or its directory"},
	{"\x1f\x8b", "this is a gzip archive; unpack it first"},
	{"\x89HDF\r\n", "this is an HDF5 file (TensorFlow, Keras); convert it to safetensors"},
	{"GGUF", "this is a GGUF file; get the safetensors checkpoint it was made from"},
	{"\x93NUMPY", "this is a NumPy array; convert it to safetensors"},
}

const pickle = "this is a Python pickle, most likely an old PyTorch checkpoint (.bin, .pt); convert it to safetensors, pickles are not read"

// sniff says what a file is that begins with start and is no safetensors file, or "".
func sniff(start []byte) string {
	if len(start) == 0 {
		return "the file is empty; " + cutShort
	}
	if mayBegin(start) {
		return ""
	}
	text := bytes.TrimLeft(bytes.TrimPrefix(start, []byte("\ufeff")), " \t\r\n")
	for _, s := range strangers {
		if bytes.HasPrefix(start, []byte(s.start)) || bytes.HasPrefix(text, []byte(s.start)) {
			return s.what
		}
	}
	return ""
}

// mayBegin holds if start can begin a safetensors file: a length below 2^32, then a brace. Without it
// a header of 0x283c bytes would pass for a web page.
func mayBegin(start []byte) bool {
	return len(start) > prefixBytes && start[prefixBytes] == '{' && bytes.Equal(start[4:prefixBytes], make([]byte, 4))
}
