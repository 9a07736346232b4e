package quiet

import (
	"flag"
	"log/slog"
	"strings"

	"k8s.io/klog/v2"
)

func init() {
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	for _, setting := range [][2]string{{"logtostderr", "false"}, {"stderrthreshold", "FATAL"}, {"skip_headers", "true"}} {
		if err := flags.Set(setting[0], setting[1]); err != nil {
			panic(err) // klog has lost a flag: seen by whoever updates it
		}
	}
	klog.SetOutput(debugLog{})
}

// debugLog passes go-xla's messages to the debug log.
type debugLog struct{}

func (debugLog) Write(text []byte) (int, error) {
	slog.Debug("go-xla", "line", strings.TrimSpace(string(text)))
	return len(text), nil
}
