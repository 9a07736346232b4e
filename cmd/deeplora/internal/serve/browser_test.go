package serve

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/deeplora/deeplora/internal/testpage"
)

const (
	textField, pairField, button = chromedp.CSS("#text"), chromedp.CSS("#pair"), chromedp.CSS("#go")
	light, dark                  = "light", "dark"
)

// The page as it is used: an adapter chosen, a text typed, an answer read; in a wide and a narrow window, in light and dark.
func TestPageInABrowser(t *testing.T) {
	p, r := testpage.Browse(t), start(t, nil, nil)
	const hostile = `<img src=x onerror="document.title='taken'"> A wonderful story.`
	p.Do(chromedp.Navigate(r.url+"/"), chromedp.WaitReady(chromedp.CSS("#adapter option[value=mood]")))
	p.Look("start", 1280, light)

	// A pair with a score.
	p.Do(chromedp.SendKeys(textField, "A man plays the flute."), chromedp.SendKeys(pairField, "Someone plays."), chromedp.Click(button), chromedp.WaitVisible(chromedp.CSS("#bars .value")))
	if took, score := p.Text("#took"), p.Text("#bars .value"); !strings.Contains(took, " ms") || score == "" {
		t.Errorf("a score: %q in %q", score, took)
	}
	p.Look("score", 1280, light)

	// Classes, asked by the keyboard. A label and a text that are HTML stay text.
	p.Script(`at("adapter").value = "mood", at("adapter").dispatchEvent(new Event("change"))`)
	p.Fill("pair", "")
	p.Fill("text", hostile)
	p.Do(chromedp.Focus(textField),
		chromedp.KeyEvent("\r", chromedp.KeyModifiers(chromedp.ModifierCtrl)), chromedp.WaitVisible(chromedp.CSS(".bars .name")))
	labels := p.Text(".bars")
	for _, want := range []string{"bad", "good", "<b>neither</b>", "%"} {
		if !strings.Contains(labels, want) {
			t.Errorf("no %q among the labels %q", want, labels)
		}
	}
	p.Look("classes", 1280, light)
	p.Look("classes", 1280, dark)
	p.Look("classes", 390, dark)
	p.Look("classes", 390, light)
	if testpage.Value(p, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > window.innerWidth`)) {
		t.Error("the page is wider than a telephone")
	}

	// Lines.
	p.Fill("text", hostile+"\n\nTerrible and boring.\nIt is a film.")
	p.Do(chromedp.Click(chromedp.CSS("#many")), chromedp.Click(button),
		chromedp.WaitVisible(chromedp.CSS("#rows tr:nth-child(3)")))
	p.Look("lines", 390, light)
	p.Look("lines", 1280, dark)
	rows, images := testpage.Value(p, chromedp.Evaluate[int](`document.querySelectorAll("#rows tr").length`)), testpage.Value(p, chromedp.Evaluate[int](`document.querySelectorAll("img").length`))
	if cell, title := p.Text("#rows td"), testpage.Value(p, chromedp.Title()); rows != 3 || cell != hostile || images != 0 || title != "deeplora serve" {
		t.Errorf("%d rows, the first %q, %d images, title %q", rows, cell, images, title)
	}

	// What is wrong is said.
	p.Fill("text", strings.Repeat("word ", 300))
	p.Do(chromedp.Click(chromedp.CSS("#one")), chromedp.Click(button), chromedp.WaitVisible(chromedp.CSS("#fault")))
	if fault := p.Text("#fault"); !strings.Contains(fault, "has 302 tokens") {
		t.Errorf("the fault is said as %q", fault)
	}
	p.Look("fault", 390, light)
}

// With a token the page asks for it.
func TestPageAsksForTheToken(t *testing.T) {
	p, r := testpage.Browse(t), start(t, func(c *Config) { c.Token = "s3cret" }, fake)
	token := chromedp.CSS("#token")
	p.Do(chromedp.Navigate(r.url+"/"), chromedp.WaitVisible(token), chromedp.SendKeys(token, "wrong\t"), chromedp.WaitVisible(chromedp.CSS("#fault")))
	if fault := p.Text("#fault"); !strings.Contains(fault, "wants a token") {
		t.Errorf("a wrong token: %q", fault)
	}
	p.Fill("token", "")
	p.Do(chromedp.SendKeys(token, "s3cret\t"), chromedp.WaitReady(chromedp.CSS("#adapter option[value=mood]")))
	if about := p.Text("#about"); !strings.Contains(about, "builtin-tiny") {
		t.Errorf("the right one: %q", about)
	}
}
