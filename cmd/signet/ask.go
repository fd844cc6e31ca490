package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// yesFlag adds --yes to a destructive command.
func yesFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().BoolP("yes", "y", false, "do it without asking")
}

// errDeclined means that the user said no.
var errDeclined = errors.New("nothing was changed")

// confirm shows what a destructive command would take away and asks. Where nobody is there to answer, it refuses.
func (env *cliEnv) confirm(yes bool, impact string) error {
	env.talk("%s", impact)
	if yes {
		return nil
	}
	if !terminal(env.Stdin) {
		return usageError("stdin is no terminal, so nobody can confirm this; say --yes")
	}
	fmt.Fprint(env.Stderr, "Go on? [y/N] ")
	answer, err := bufio.NewReader(env.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		return errDeclined
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errDeclined
}
