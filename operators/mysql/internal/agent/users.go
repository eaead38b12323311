package agent

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/kapok-operators/kapok/operators/mysql/internal/agent/mysqld"
	"github.com/kapok-operators/kapok/operators/mysql/internal/instance"
)

const (
	// usersInterval is the time between two looks at the password files.
	usersInterval = 5 * time.Second
	// usersLimit is how long the statements for one account may take. See usersStuck.
	usersLimit = 5 * time.Second
	// setUpLimit is how long making the agent's own schema may take.
	setUpLimit = 10 * time.Second
	// digestRounds make guessing a password from its digest about as costly as from mysqld's own.
	digestRounds = 20000
	// maxPassword is the longest password file that is read, in bytes.
	maxPassword = 1 << 10
)

// userMemory is what the agent knows about the application accounts.
type userMemory struct {
	// next is when to look again; run is the run of mysqld in which the accounts were last seen to be right.
	next time.Time
	// errors says what is wrong, by account.
	errors map[string]string
}

func newUserMemory() userMemory { return userMemory{errors: map[string]string{}} }

// keepUsers starts the job that keeps the accounts, if one is due. It only runs on a serving primary whose commits are
// answered: an account statement that waits would keep replicas from logging in, for ever.
func (a *Agent) keepUsers(ctx context.Context, r *run) {
	m := &a.memory
	d, o := m.directive, m.observation
	if !a.servesNow() || o == nil {
		return
	}
	if len(o.Dumps) < d.Primary.Acks || time.Now().Before(m.users.next) || a.jobs["users"] {
		return
	}
	users := d.Users
	a.job(ctx, "users", func(ctx context.Context) func() {
		problems, stuck, err := a.applyUsers(ctx, r.client, users, d.Epoch)
		return func() {
			a.memory.users.next = time.Now().Add(usersInterval)
			if !maps.Equal(a.memory.users.errors, problems) {
				a.memory.users.errors = problems
			}
			if err != nil {
				a.log.Warn("Could not set up the agent's schema", "error", err.Error())
			}
			if stuck && a.current.Load() == r {
				a.log.Error("An account statement waits for an acknowledgement and would keep every login waiting: killing mysqld")
				a.ignoreEnd(r.kill())
			}
		}
	})
}

// servesNow says whether the instance is the serving primary that it was told to be.
func (a *Agent) servesNow() bool {
	d := a.memory.directive
	return d != nil && d.Role == instance.RolePrimary && d.Primary != nil && d.Primary.Serve && a.memory.plan.Converged
}

// applyUsers brings the accounts to what they shall be. stuck says that a statement was not answered in time.
func (a *Agent) applyUsers(ctx context.Context, c *mysqld.Client, users []instance.User, epoch uint64) (problems map[string]string, stuck bool, err error) {
	problems = map[string]string{}
	if err := c.SetUp(ctx, setUpLimit); err != nil {
		return problems, false, err
	}
	for _, u := range users {
		want, err := a.readUser(u)
		if err != nil {
			problems[u.Name] = err.Error()
			continue
		}
		salt, digest, found, err := c.UserDigest(ctx, u.Name)
		if err != nil {
			problems[u.Name] = err.Error()
			continue
		}
		if found {
			now, err := userDigest(want, salt)
			if err != nil {
				return problems, false, err
			}
			if subtle.ConstantTimeCompare(now, digest) == 1 {
				continue
			}
		}
		// The row says that commits are answered at this moment.
		if err := c.Probe(ctx, 100, epoch, time.Second); err != nil {
			return problems, false, nil //nolint:nilerr // Nobody answers commits now: the accounts are looked at again later.
		}
		want.Salt = make([]byte, 16)
		_, _ = rand.Read(want.Salt)
		if want.Digest, err = userDigest(want, want.Salt); err != nil {
			return problems, false, err
		}
		begun := time.Now()
		err = c.ApplyUser(ctx, want, usersLimit)
		if errors.Is(err, context.DeadlineExceeded) {
			return problems, true, nil
		}
		if err != nil {
			problems[u.Name] = err.Error()
			continue
		}
		a.log.Info("Set up an account", "account", u.Name, "access", string(u.Access), "took", time.Since(begun).Round(time.Millisecond).String())
	}
	return problems, false, nil
}

// readUser reads an account's password from its file.
func (a *Agent) readUser(u instance.User) (mysqld.User, error) {
	want := mysqld.User{Name: u.Name, Database: u.Database, Writes: u.Access == instance.AccessReadWrite}
	if u.Access != instance.AccessReadWrite && u.Access != instance.AccessReadOnly {
		return want, fmt.Errorf("access %q is not known: use %s or %s", u.Access, instance.AccessReadWrite, instance.AccessReadOnly)
	}
	if a.opts.UsersDir == "" || filepath.Base(u.Name) != u.Name || u.Name == "." || u.Name == ".." {
		return want, fmt.Errorf("there is no password for it: the users Secret needs the key %q", u.Name)
	}
	f, err := os.Open(filepath.Join(a.opts.UsersDir, u.Name))
	if errors.Is(err, os.ErrNotExist) {
		return want, fmt.Errorf("the users Secret has no key %q: add one with the account's password as its value", u.Name)
	}
	if err != nil {
		return want, fmt.Errorf("the key %q of the users Secret cannot be read: %w", u.Name, errors.Unwrap(err))
	}
	defer func() { _ = f.Close() }()
	buffer := make([]byte, maxPassword+1)
	n, err := f.Read(buffer)
	if err != nil && n == 0 {
		return want, fmt.Errorf("the key %q of the users Secret is empty: set it to the account's password", u.Name)
	}
	if n > maxPassword {
		return want, fmt.Errorf("the key %q of the users Secret is longer than %d bytes", u.Name, maxPassword)
	}
	// A line break at the end comes from the tool that wrote the Secret.
	password := bytes.TrimRight(buffer[:n], "\r\n")
	if len(password) == 0 {
		return want, fmt.Errorf("the key %q of the users Secret is empty: set it to the account's password", u.Name)
	}
	want.Password = string(password)
	return want, nil
}

// userDigest stands for everything that an account is set to.
func userDigest(u mysqld.User, salt []byte) ([]byte, error) {
	content := fmt.Sprintf("%q %q %v %q", u.Name, u.Database, u.Writes, u.Password)
	digest, err := pbkdf2.Key(sha256.New, content, salt, digestRounds, sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("digest the account %s: %w", u.Name, err)
	}
	return digest, nil
}
