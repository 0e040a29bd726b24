package outside

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

//go:embed testdata/oidc-provider
var sources embed.FS

// installed returns a directory that holds the files of testdata/<name> and the packages that they need, installed at first
// use. Its name is a digest of the files: another version is another directory, and what is there is never changed.
func installed(t testing.TB, name string) string {
	t.Helper()
	files, err := fs.Sub(sources, "testdata/"+name)
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = t.TempDir()
	}
	cache = filepath.Join(cache, "tenantgate-tests")
	dir := filepath.Join(cache, name+"-"+digest(t, files))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}

	npm := Program(t, "npm")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	work, err := os.MkdirTemp(cache, "installing-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(work)
	if err := os.CopyFS(work, files); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		missing(t, "npm cannot install "+name+": "+err.Error()+"\n"+string(out))
	}
	if err := os.Rename(work, dir); err != nil {
		if _, missing := os.Stat(dir); missing != nil { // else another test was faster
			t.Fatal(err)
		}
	}
	return dir
}

// digest names the content of all files.
func digest(t testing.TB, files fs.FS) string {
	t.Helper()
	h := sha256.New()
	err := fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		h.Write([]byte(path + "\x00"))
		h.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
