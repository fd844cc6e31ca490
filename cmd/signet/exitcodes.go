package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/seed-1972b8eb/signet/pkg/adminapi"
)

// Exit codes; signet help exit-codes tells them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnavailable = 4
	exitInterrupted = 130
)

const exitCodesText = `  0    done
  1    failed: a check found something, or something went wrong on this machine
  2    usage: unknown command or flag, missing argument, or a question that nobody is there to answer (see --yes)
  3    refused: it was understood and will not be done, or there is no such thing
  4    unavailable: no server answered, or it said that it cannot know at the moment; try again
  130  interrupted
`

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: "Exit codes:\n\n" + strings.TrimRight(exitCodesText, "\n")}
}

// misuse is a command line that makes no sense.
type misuse struct{ error }

func (e misuse) Unwrap() error { return e.error }

func usage(err error) error { return misuse{err} }

func usageError(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// silentError was told to the user already.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

// refusal is something that this program understood and will not do.
type refusal struct{ error }

func (e refusal) Unwrap() error { return e.error }

// errChecks means that a command which checks has found something.
var errChecks = errors.New("checks failed")

func exitCode(err error) int {
	var problem *adminapi.Problem
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, new(misuse)):
		return exitUsage
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.Is(err, adminapi.ErrUnreachable):
		return exitUnavailable
	case errors.As(err, &problem):
		if problem.Status >= http.StatusInternalServerError || problem.Status == http.StatusTooManyRequests {
			return exitUnavailable
		}
		return exitRefused
	case errors.As(err, new(refusal)):
		return exitRefused
	case strings.HasPrefix(err.Error(), "unknown command"): // cobra has no type for it
		return exitUsage
	default:
		return exitFailed
	}
}

// usageArgs makes a wrong number of arguments a usage error.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(err)
		}
		return nil
	}
}
