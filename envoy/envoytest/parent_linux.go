package envoytest

import (
	"os/exec"
	"syscall"
)

// dieWithParent kills Envoy when the test process ends.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
