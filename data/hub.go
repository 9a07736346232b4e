package data

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/envtruth"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/readfile"
)

// glueRepo is the data set on the hub that has every GLUE task as parquet.
const glueRepo = "nyu-mll/glue"

// HubOptions are the settings of Resolve and Task.Resolve. Empty ones come from the environment that Hugging Face's own
// programs use, whose cache this shares: same folders, same names, links into blobs.
type HubOptions struct {
	CacheDir string // instead of $HF_HOME: files go to CacheDir/hub. Else $HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub
	Endpoint string // the hub's address. Else $HF_ENDPOINT, https://huggingface.co
	Token    string // for private and gated repositories, sent to Endpoint alone. Else $HF_TOKEN
	Offline  bool   // never open a socket; also if $DEEPLORA_OFFLINE or $HF_HUB_OFFLINE is set, and not 0, false, no or off

	// Progress, if not nil, is told how many bytes of a file have come, out of total (0: not known).
	Progress func(file string, done, total int64)
}

// HubInfo says what Resolve did.
type HubInfo struct {
	Local      bool     // the reference was a directory: nothing else is set
	Repo       string   // org/name
	Revision   string   // as asked for: a branch, a tag or a commit
	Commit     string   // what it stands for
	Config     string   // of a data set: the configuration that was taken
	Files      []string // in the directory returned, with forward slashes
	Downloaded int64    // bytes that came over the network
	Notices    []string // what the user should know, such as a hub out of reach
}

// hubWant says which files of a repository are wanted, by patterns of path.Match. Everything else is
// never fetched: pickles, other frameworks' weights.
type hubWant struct {
	dataset  bool       // a data set's repository, not a model's
	required [][]string // of each list, the first pattern that some file matches
	optional []string

	// more, if not nil, are files that the chosen ones name, out of all there are.
	more func(chosen, all []string, read func(name string) ([]byte, error)) ([]string, error)

	// whole says that which files there are follows from nothing in the cache: a list of them is kept there, of part.
	whole bool
	part  string
}

// modelFiles are a model's: config.json, safetensors in one file or, by their index, in shards, and those that exist of
// the tokenizer's files and of those that say how an embedding is made.
func modelFiles() hubWant {
	return hubWant{
		required: [][]string{{"config.json"}, {"model.safetensors", safetensorsIndex}},
		optional: slices.Concat(modelfiles.OfTokenizer, modelfiles.OfEmbedding),
		more:     shards,
	}
}

// hubFiles are the parquet files of a task's splits, as glueRepo has them.
func (t Task) hubFiles() hubWant {
	w := hubWant{dataset: true}
	for _, split := range t.Splits() {
		var patterns []string
		for _, stem := range t.stems(split) {
			patterns = append(patterns, t.hubFolder()+"/"+stem+"-00000-of-00001*.parquet")
		}
		w.required = append(w.required, patterns)
	}
	return w
}

// kind is what the hub's addresses and the cache's folders call the repository.
func (w hubWant) kind() string {
	if w.dataset {
		return "datasets"
	}
	return "models"
}

const safetensorsIndex = "model.safetensors.index.json"

// choose returns the wanted ones of a repository's files, each once, small files before the weights: if the last
// one is in the cache, all are.
func (w hubWant) choose(files []string) ([]string, error) {
	var chosen []string
	for _, pattern := range w.optional {
		chosen = append(chosen, matches(files, pattern)...)
	}
	for _, alternatives := range w.required {
		i := slices.IndexFunc(alternatives, func(pattern string) bool { return len(matches(files, pattern)) > 0 })
		if i < 0 {
			return nil, w.missing(files, alternatives)
		}
		chosen = append(chosen, matches(files, alternatives[i])...)
	}
	return chosen, nil
}

func (w hubWant) missing(files, alternatives []string) error {
	pickles := slices.Concat(matches(files, "*.bin"), matches(files, "*.pt"), matches(files, "*.ckpt"))
	if len(pickles) > 0 && slices.Contains(alternatives, "model.safetensors") {
		return fmt.Errorf("no model.safetensors, only %s: pickles can run code and are refused; convert it with Transformers: model.save_pretrained(DIR, safe_serialization=True), and give that directory", pickles[0])
	}
	return fmt.Errorf("no %s", strings.Join(alternatives, " or "))
}

func matches(files []string, pattern string) []string {
	var found []string
	for _, f := range files {
		if ok, _ := path.Match(pattern, f); ok {
			found = append(found, f)
		}
	}
	return found
}

// Resolve returns a directory with the files of a model: config.json, safetensors and the tokenizer's. ref is a
// local directory, which is returned as it is, or org/name[@revision] on the hub, through the cache.
//
// The hub is asked once which commit the revision is, unless it is a full commit id; files that the
// cache has are not fetched again. A file appears in the cache when all of it has come and has the
// size and the hash that the hub states. A transfer that breaks off is continued by this call or the
// next one. If the hub cannot be reached, the files in the cache are used, with a notice. With
// Offline only the cache is used, and a missing file is an error. Two processes may resolve the same
// reference at the same time.
func Resolve(ctx context.Context, ref string, opt HubOptions) (string, HubInfo, error) {
	return resolve(ctx, ref, modelFiles(), opt)
}

// Resolve is the function of that name for the parquet files of a task, from the hub's data set of GLUE. It is an
// error for a task of your own, which is not there.
func (t Task) Resolve(ctx context.Context, opt HubOptions) (string, HubInfo, error) {
	if t.files.folder == "" {
		return "", HubInfo{}, fmt.Errorf("hub: %s has no task %q; give a directory with its files", glueRepo, t.Name)
	}
	return resolve(ctx, glueRepo, t.hubFiles(), opt)
}

func resolve(ctx context.Context, ref string, want hubWant, opt HubOptions) (string, HubInfo, error) {
	if info, err := os.Stat(ref); err == nil && info.IsDir() {
		return ref, HubInfo{Local: true}, nil
	}
	r, err := newHubRepo(ref, want, opt)
	if err != nil {
		return "", HubInfo{}, err
	}
	dir, err := r.resolve(ctx)
	if err != nil && !strings.Contains(r.info.Repo, "/") {
		return "", HubInfo{}, fmt.Errorf("%s: no such directory, and as a name on the hub: %w", ref, err)
	}
	if err != nil {
		return "", HubInfo{}, fmt.Errorf("hub: %s: %w", ref, err)
	}
	return dir, r.info, nil
}

// hubRepo is one repository at one revision, on the hub and in the cache.
type hubRepo struct {
	want     hubWant
	opt      HubOptions
	info     HubInfo
	cacheDir string // the cache's root
	dir      string // the repository's folder in the cache
}

var (
	repoPattern   = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]*/)?[A-Za-z0-9_][A-Za-z0-9._-]*$`) // the oldest models have no organisation
	commitPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

func newHubRepo(ref string, want hubWant, opt HubOptions) (*hubRepo, error) {
	repo, revision, named := strings.Cut(ref, "@")
	if !named {
		revision = "main"
	}
	if !repoPattern.MatchString(repo) {
		return nil, fmt.Errorf("%s: no such directory, and not a name on the hub (org/name[@revision])", ref)
	}
	if !safeName(revision) {
		return nil, fmt.Errorf("hub: %s: %q is not a revision; want a branch, a tag or a commit", ref, revision)
	}
	opt = opt.withEnvironment()
	if u, err := url.Parse(opt.Endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("hub: the endpoint is not an address; want https://host (HF_ENDPOINT)")
	}
	cacheDir := opt.Cache()
	folder := want.kind() + "--" + strings.ReplaceAll(repo, "/", "--")
	return &hubRepo{
		want: want, opt: opt, info: HubInfo{Repo: repo, Revision: revision},
		cacheDir: cacheDir, dir: filepath.Join(cacheDir, folder),
	}, nil
}

// safeName reports whether a name with forward slashes stays inside the folder it is put into, on any system, and
// can be shown.
func safeName(name string) bool {
	return filepath.IsLocal(name) && path.Clean(name) == name && !strings.ContainsAny(name, "\\:") && !strings.ContainsFunc(name, unicode.IsControl)
}

// Cache returns the folder of the hub's cache under these options.
func (o HubOptions) Cache() string {
	switch {
	case o.CacheDir != "":
		return filepath.Join(o.CacheDir, "hub")
	case os.Getenv("HF_HUB_CACHE") != "":
		return os.Getenv("HF_HUB_CACHE")
	case os.Getenv("HF_HOME") != "":
		return filepath.Join(os.Getenv("HF_HOME"), "hub")
	default:
		base := cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(os.Getenv("HOME"), ".cache"))
		return filepath.Join(base, "huggingface", "hub")
	}
}

func (o HubOptions) withEnvironment() HubOptions {
	o.Offline = o.Offline || envtruth.On("DEEPLORA_OFFLINE") || envtruth.On("HF_HUB_OFFLINE")
	if o.Endpoint == "" {
		o.Endpoint = os.Getenv("HF_ENDPOINT")
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://huggingface.co"
	}
	o.Endpoint = strings.TrimSuffix(o.Endpoint, "/")
	if o.Token == "" {
		o.Token = os.Getenv("HF_TOKEN")
	}
	return o
}

func (r *hubRepo) resolve(ctx context.Context) (string, error) {
	if r.opt.Offline {
		dir, err := r.fromCache()
		if err != nil {
			return "", fmt.Errorf("offline, and not whole in the cache %s: %w; run once without --offline, or give a local directory", r.cacheDir, err)
		}
		return dir, nil
	}
	if commitPattern.MatchString(r.info.Revision) { // such a revision never changes
		if dir, err := r.fromCache(); err == nil {
			return dir, nil
		}
	}
	dir, err := r.fromHub(ctx)
	if unreachable := (unreachableError{}); errors.As(err, &unreachable) && ctx.Err() == nil {
		if dir, cacheErr := r.fromCache(); cacheErr == nil {
			r.info.Notices = append(r.info.Notices, fmt.Sprintf("%v; using %s at %.12s from the cache", err, r.info.Repo, r.info.Commit))
			return dir, nil
		}
	}
	return dir, err
}

// fromCache finds the files in the cache alone.
func (r *hubRepo) fromCache() (string, error) {
	commit := r.info.Revision
	if !commitPattern.MatchString(commit) {
		content, err := readfile.Path(r.refPath(), maxRef)
		if err != nil {
			return "", fmt.Errorf("no revision %s of %s", r.info.Revision, r.info.Repo)
		}
		if commit = strings.TrimSpace(string(content)); !commitPattern.MatchString(commit) {
			return "", fmt.Errorf("%s holds no commit", r.refPath())
		}
	}
	r.info.Commit = commit
	files, err := r.cached()
	if err != nil {
		return "", err
	}
	chosen, err := r.want.choose(files)
	if err != nil {
		return "", err
	}
	more, err := r.more(chosen, files)
	if err != nil {
		return "", err
	}
	for _, name := range more {
		if !slices.Contains(files, name) {
			return "", fmt.Errorf("no %s", name)
		}
	}
	r.info.Files = append(chosen, more...)
	return r.snapshot(), nil
}

// cached are the files in the snapshot: of what is kept whole, those that were there when all of it had come.
func (r *hubRepo) cached() ([]string, error) {
	there := filesBelow(r.snapshot())
	if !r.want.whole {
		return there, nil
	}
	content, err := readfile.Path(r.wholePath(), maxListing)
	if errors.Is(err, fs.ErrNotExist) { // another program's, which does not say what is all of it
		r.info.Notices = append(r.info.Notices, fmt.Sprintf("%s at %.12s is taken as it lies in the cache: nothing says whether all of its files are there", r.info.Repo, r.info.Commit))
		return there, nil
	}
	if err != nil {
		return nil, err
	}
	var files []string
	if err := json.Unmarshal(content, &files); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it", r.wholePath(), err)
	}
	for _, name := range files {
		if !slices.Contains(there, name) {
			return nil, fmt.Errorf("no %s", name)
		}
	}
	return files, nil
}

// wholePath is the list of the files that are all of a part of the repository.
func (r *hubRepo) wholePath() string {
	part := sha256.Sum256([]byte(r.want.part))
	return filepath.Join(r.dir, "deeplora", r.info.Commit+"-"+hex.EncodeToString(part[:8])+".json")
}

const maxRef = 1 << 10 // bytes of a reference, which is one commit

func (r *hubRepo) refPath() string {
	return filepath.Join(r.dir, "refs", filepath.FromSlash(r.info.Revision))
}

func (r *hubRepo) snapshot() string { return filepath.Join(r.dir, "snapshots", r.info.Commit) }

// filesBelow lists the files of a folder with forward slashes, sorted. A link counts if what it points
// to is there.
func filesBelow(dir string) []string {
	var files []string
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil // what cannot be read is not there
		}
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			name, _ := filepath.Rel(dir, p)
			files = append(files, filepath.ToSlash(name))
		}
		return nil
	})
	return files
}

// more are the files that the chosen ones name, which must be in the snapshot already.
func (r *hubRepo) more(chosen, all []string) ([]string, error) {
	if r.want.more == nil {
		return nil, nil
	}
	return r.want.more(chosen, all, func(name string) ([]byte, error) {
		return readfile.Path(filepath.Join(r.snapshot(), filepath.FromSlash(name)), r.want.mostOf(name))
	})
}

// shards returns the files that the index among the chosen ones names, sorted.
func shards(chosen, _ []string, read func(name string) ([]byte, error)) ([]string, error) {
	if !slices.Contains(chosen, safetensorsIndex) {
		return nil, nil
	}
	content, err := read(safetensorsIndex)
	if err != nil {
		return nil, err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(content, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", safetensorsIndex, err)
	}
	var shards []string
	for _, shard := range index.WeightMap {
		if !safeName(shard) || strings.Contains(shard, "/") || !strings.HasSuffix(shard, ".safetensors") {
			return nil, fmt.Errorf("%s: %q is not the name of a shard", safetensorsIndex, shard)
		}
		shards = append(shards, shard)
	}
	slices.Sort(shards)
	return slices.Compact(shards), nil
}

// fromHub asks the hub and fetches what the cache lacks.
func (r *hubRepo) fromHub(ctx context.Context) (string, error) {
	c := newHubClient(r)
	defer c.close()
	listing, err := c.list(ctx)
	if err != nil {
		return "", err
	}
	r.info.Commit = listing.Commit
	var names []string
	for _, f := range listing.Files {
		names = append(names, f.Name)
	}
	chosen, err := r.want.choose(names)
	if err != nil {
		return "", err
	}
	if err := c.fetchAll(ctx, listing, chosen); err != nil {
		return "", err
	}
	more, err := r.more(chosen, names)
	if err != nil {
		return "", err
	}
	if err := c.fetchAll(ctx, listing, more); err != nil {
		return "", err
	}
	r.info.Files = append(chosen, more...)
	r.remember()
	return r.snapshot(), nil
}

// rememberWhole writes down which files are all of the part. Without it a later call asks the hub.
func (r *hubRepo) rememberWhole() {
	if old, err := readfile.Path(r.wholePath(), maxListing); err == nil {
		var files []string
		if json.Unmarshal(old, &files) == nil && slices.Equal(files, r.info.Files) {
			return
		}
	}
	r.note(r.wholePath(), "the cache does not take note of the data set's files", func(w io.Writer) error { return json.NewEncoder(w).Encode(r.info.Files) })
}

// remember writes down which commit the revision is. It is called last, so that a reference in the cache always
// points to complete files.
func (r *hubRepo) remember() {
	if r.want.whole {
		r.rememberWhole()
	}
	if commitPattern.MatchString(r.info.Revision) {
		return
	}
	if content, err := readfile.Path(r.refPath(), maxRef); err == nil && string(content) == r.info.Commit {
		return
	}
	r.note(r.refPath(), "the cache does not take note of the revision, so --offline will not find it", func(w io.Writer) error {
		_, err := io.WriteString(w, r.info.Commit)
		return err
	})
}

// note writes a file of the cache's own. A cache that others keep may be read-only, and the files are there: failed is
// then a notice.
func (r *hubRepo) note(path, failed string, write func(w io.Writer) error) {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = atomicfile.Write(path, write)
	}
	if err != nil {
		r.info.Notices = append(r.info.Notices, fmt.Sprintf("%s: %v", failed, err))
	}
}
