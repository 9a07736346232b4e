package testpage

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// Tab is a page of headless Chromium that a test uses as a person would.
type Tab struct {
	t   *testing.T
	ctx context.Context
}

// Browse opens the browser, or skips the test where there is none.
func Browse(t *testing.T) Tab {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no Chromium is installed: apt-get install chromium")
	}
	o := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		o = append(o, chromedp.NoSandbox) // Chromium has none for root
	}
	allocated, free := chromedp.NewExecAllocator(context.Background(), o...)
	t.Cleanup(free)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	ctx, stop := context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(stop)
	return Tab{t, ctx}
}

// Do acts on the page.
func (p Tab) Do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// Value is what an action finds.
func Value[T any](p Tab, action chromedp.Action[T]) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, action)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

// Script runs an expression in the page.
func (p Tab) Script(text string) {
	p.t.Helper()
	Value(p, chromedp.Evaluate[bool]("("+text+", true)"))
}

// Fill replaces what a field holds.
func (p Tab) Fill(id, text string) {
	p.t.Helper()
	value, err := json.Marshal(text)
	if err != nil {
		p.t.Fatal(err)
	}
	p.Script(fmt.Sprintf("document.getElementById(%q).value = %s", id, value))
}

// Text is what a person reads of an element.
func (p Tab) Text(of chromedp.CSS) string {
	p.t.Helper()
	return Value(p, chromedp.Text(of))
}

// Look sets the window's width and the colours that the person prefers, and writes a picture of the page where
// DEEPLORA_SCREENSHOTS names a folder, for a person to look at.
func (p Tab) Look(name string, width int64, colours string) {
	p.t.Helper()
	p.Do(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}}})
		return err
	}))
	dir := os.Getenv("DEEPLORA_SCREENSHOTS")
	if dir == "" {
		return
	}
	file := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, colours, width))
	if err := os.WriteFile(file, Value(p, chromedp.FullScreenshot(100)), 0o644); err != nil {
		p.t.Fatal(err)
	}
}
