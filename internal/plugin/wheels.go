package plugin

import "strings"

// wheel is a Python wheel that holds a CPU plugin: a zip archive of which one file is wanted. Both sums are
// pinned; an index that has another file under the name is refused.
type wheel struct {
	project, version string
	file             string // the wheel's file name
	size             int64  // bytes
	sha256           string
	entry            string // the plugin inside
	pluginSize       int64
	pluginSHA256     string
}

func (w wheel) source() string { return "wheel " + w.project }

// wheels are tried in this order. All three were opened by go-xla v0.4.2 and gave the same speed. The first
// is the unmodified plugin of zml/pjrt-artifacts and needs no C++ library.
var wheels = []wheel{
	{
		project: "fastatomstruct-xla-cpu", version: "2026.6.23",
		file:         "fastatomstruct_xla_cpu-2026.6.23-py3-none-manylinux_2_27_x86_64.whl",
		size:         63200622,
		sha256:       "88b1c430b341b4bea40a37420311c9c75db6e22b46d2ff95b6986577bee6afe9",
		entry:        "fastatomstruct_xla_cpu/libpjrt_cpu.so",
		pluginSize:   273768800,
		pluginSHA256: "0a0fe56ca17be9efc7b942e89e534e5e0ad4a0f1e369b66d27b62184509015b9",
	},
	{
		project: "lammps-jax-pjrt-cpu", version: "0.11.2",
		file:         "lammps_jax_pjrt_cpu-0.11.2-py3-none-manylinux_2_27_x86_64.whl",
		size:         62711338,
		sha256:       "1319390d948b39f69f7dade496b7c385149d9ca6097a6b62114da113216d9ad1",
		entry:        "lammps_jax_pjrt_cpu/pjrt_c_api_cpu_plugin.so",
		pluginSize:   201600336,
		pluginSHA256: "ad1309ac822b1b24d51b7f9947c7c9fa9ef5d67f390584cbc3d1fa2428fed9c2",
	},
	{
		project: "xla-cpu-pjrt", version: "0.0.1",
		file:         "xla_cpu_pjrt-0.0.1-py3-none-manylinux_2_27_x86_64.whl",
		size:         63461052,
		sha256:       "55837b6b7b47daa717f2d9a5a03563ea0ceaa338d06a81a1e2d3f060d960decc",
		entry:        "xla_plugins/xla_cpu_pjrt/xla_cpu_pjrt.so",
		pluginSize:   259284552,
		pluginSHA256: "88c3f28c5900f48ad4a82cab9e79bba9537809743395e341485f8794268820dc",
	},
}

// wheelsFor are the wheels with a plugin for a platform.
func wheelsFor(goos, goarch string) []wheel {
	if goos == "linux" && goarch == "amd64" {
		return wheels
	}
	return nil
}

func wheelOfPlugin(sha256 string) (wheel, bool) {
	for _, w := range wheels {
		if w.pluginSHA256 == sha256 {
			return w, true
		}
	}
	return wheel{}, false
}

// isArchive reports whether a file name is one of an archive that may hold a plugin.
func isArchive(name string) bool {
	return strings.HasSuffix(name, ".whl") || strings.HasSuffix(name, ".zip") || strings.HasSuffix(name, ".tar.gz")
}
