package serve

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// tab is a page of headless Chromium that a test uses as a person would.
type tab struct {
	t   *testing.T
	ctx context.Context
}

// browse opens the browser, or skips the test where there is none.
func browse(t *testing.T) tab {
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
	return tab{t, ctx}
}

func (p tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// value is what an action finds.
func value[T any](p tab, action chromedp.Action[T]) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, action)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p tab) script(text string) { p.t.Helper(); value(p, chromedp.Evaluate[bool]("("+text+", true)")) }

// fill replaces what a field holds.
func (p tab) fill(id, text string) {
	p.t.Helper()
	value, err := json.Marshal(text)
	if err != nil {
		p.t.Fatal(err)
	}
	p.script(fmt.Sprintf("at(%q).value = %s", id, value))
}

func (p tab) text(of chromedp.CSS) string { p.t.Helper(); return value(p, chromedp.Text(of)) }

// look sets the window's width and the colours that the person prefers, and writes a picture of the page where
// DEEPLORA_SCREENSHOTS names a folder, for a person to look at.
func (p tab) look(name string, width int64, colours string) {
	p.t.Helper()
	p.do(chromedp.EmulateViewport(width, 900), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}}})
		return err
	}))
	dir := os.Getenv("DEEPLORA_SCREENSHOTS")
	if dir == "" {
		return
	}
	file := filepath.Join(dir, fmt.Sprintf("%s-%s-%d.png", name, colours, width))
	if err := os.WriteFile(file, value(p, chromedp.FullScreenshot(100)), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

const (
	textField, pairField, button = chromedp.CSS("#text"), chromedp.CSS("#pair"), chromedp.CSS("#go")
	light, dark                  = "light", "dark"
)

// The page as it is used: an adapter chosen, a text typed, an answer read; in a wide and a narrow window, in light and dark.
func TestPageInABrowser(t *testing.T) {
	p, r := browse(t), start(t, nil, nil)
	const hostile = `<img src=x onerror="document.title='taken'"> A wonderful story.`
	p.do(chromedp.Navigate(r.url+"/"), chromedp.WaitReady(chromedp.CSS("#adapter option[value=mood]")))
	p.look("start", 1280, light)

	// A pair with a score.
	p.do(chromedp.SendKeys(textField, "A man plays the flute."), chromedp.SendKeys(pairField, "Someone plays."), chromedp.Click(button), chromedp.WaitVisible(chromedp.CSS("#bars .value")))
	if took, score := p.text("#took"), p.text("#bars .value"); !strings.Contains(took, " ms") || score == "" {
		t.Errorf("a score: %q in %q", score, took)
	}
	p.look("score", 1280, light)

	// Classes, asked by the keyboard. A label and a text that are HTML stay text.
	p.script(`at("adapter").value = "mood", at("adapter").dispatchEvent(new Event("change"))`)
	p.fill("pair", "")
	p.fill("text", hostile)
	p.do(chromedp.Focus(textField),
		chromedp.KeyEvent("\r", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.WaitVisible(chromedp.CSS(".bars .name")))
	labels := p.text(".bars")
	for _, want := range []string{"bad", "good", "<b>neither</b>", "%"} {
		if !strings.Contains(labels, want) {
			t.Errorf("no %q among the labels %q", want, labels)
		}
	}
	p.look("classes", 1280, light)
	p.look("classes", 1280, dark)
	p.look("classes", 390, dark)
	p.look("classes", 390, light)
	if value(p, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > window.innerWidth`)) {
		t.Error("the page is wider than a telephone")
	}

	// Lines.
	p.fill("text", hostile+"\n\nTerrible and boring.\nIt is a film.")
	p.do(chromedp.Click(chromedp.CSS("#many")), chromedp.Click(button),
		chromedp.WaitVisible(chromedp.CSS("#rows tr:nth-child(3)")))
	p.look("lines", 390, light)
	p.look("lines", 1280, dark)
	rows, images := value(p, chromedp.Evaluate[int](`document.querySelectorAll("#rows tr").length`)), value(p, chromedp.Evaluate[int](`document.querySelectorAll("img").length`))
	if cell, title := p.text("#rows td"), value(p, chromedp.Title()); rows != 3 || cell != hostile || images != 0 || title != "deeplora serve" {
		t.Errorf("%d rows, the first %q, %d images, title %q", rows, cell, images, title)
	}

	// What is wrong is said.
	p.fill("text", strings.Repeat("word ", 300))
	p.do(chromedp.Click(chromedp.CSS("#one")), chromedp.Click(button), chromedp.WaitVisible(chromedp.CSS("#fault")))
	if fault := p.text("#fault"); !strings.Contains(fault, "has 302 tokens") {
		t.Errorf("the fault is said as %q", fault)
	}
	p.look("fault", 390, light)
}

// With a token the page asks for it.
func TestPageAsksForTheToken(t *testing.T) {
	p, r := browse(t), start(t, func(c *Config) { c.Token = "s3cret" }, fake)
	token := chromedp.CSS("#token")
	p.do(chromedp.Navigate(r.url+"/"), chromedp.WaitVisible(token), chromedp.SendKeys(token, "wrong\t"), chromedp.WaitVisible(chromedp.CSS("#fault")))
	if fault := p.text("#fault"); !strings.Contains(fault, "wants a token") {
		t.Errorf("a wrong token: %q", fault)
	}
	p.fill("token", "")
	p.do(chromedp.SendKeys(token, "s3cret\t"), chromedp.WaitReady(chromedp.CSS("#adapter option[value=mood]")))
	if about := p.text("#about"); !strings.Contains(about, "builtin-tiny") {
		t.Errorf("the right one: %q", about)
	}
}
