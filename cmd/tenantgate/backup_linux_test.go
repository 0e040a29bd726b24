package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk is a directory on a file system of its own, or skips the test where that is not allowed.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,size="+size); err != nil {
		t.Skipf("SKIPPED: mounting a tmpfs needs root and the capability for it: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestAFullDiskLeavesNothingBehind(t *testing.T) {
	node := newInstallation(t)
	small := smallDisk(t, "8k")
	status, out := runCommand(t, "-c", filepath.Join(node, configFile), "backup", filepath.Join(small, "all.backup"))
	if status != exitFailed || !strings.Contains(out, "no space left") || !strings.Contains(out, "hint: free space") {
		t.Errorf("backup: exit %d, %s", status, out)
	}
	empty(t, small)
	small = smallDisk(t, "100k")
	status, out = runCommand(t, append([]string{"restore", makeBackupOf(t, node), small}, keysOfNode(node)...)...)
	if status != exitFailed || !strings.Contains(out, "full") {
		t.Errorf("restore: exit %d, %s", status, out)
	}
	empty(t, small)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		t.Errorf("%s is left", e.Name())
	}
}
