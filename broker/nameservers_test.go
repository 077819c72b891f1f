package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rocketd/settings"
)

func newServers(set ...string) *nameServers {
	s := settings.NewBroker(settings.Machine{Home: "/", IP: "127.0.0.1", HostName: "b", Processors: 2}, slog.New(slog.DiscardHandler))
	for _, kv := range set {
		k, v, _ := strings.Cut(kv, "=")
		s.Set(k, v)
	}
	return newNameServers(s, slog.New(slog.DiscardHandler))
}

func (n *nameServers) want(t *testing.T, want ...string) {
	t.Helper()
	if got, _ := n.all(); !slices.Equal(got, want) {
		t.Errorf("name servers %q, want %q", got, want)
	}
}

// The key is followed at run time, at once; each address counts once.
func TestNameServers_Key(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newServers("namesrvAddr=a:1; b:2;a:1,,c:3")
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx)
		synctest.Wait()
		n.want(t, "a:1", "b:2", "c:3")
		_, changed := n.all()
		if err := n.settings.Update(map[string]string{"namesrvAddr": "d:4"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		<-changed
		n.want(t, "d:4")
		cancel()
		synctest.Wait()
	})
}

// A name stands for all its addresses, is looked up again, sooner after a failure, and a failure takes nothing away.
func TestNameServers_DNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newServers("namesrvAddr=ns.example:9876", "fetchNameSrvAddrByDnsLookup=true")
		var mu sync.Mutex
		answer, fail := []string{"10.0.0.2", "10.0.0.1", "fd00::1"}, error(nil)
		says := func(addrs []string, err error) {
			mu.Lock()
			defer mu.Unlock()
			answer, fail = addrs, err
		}
		n.lookup = func(_ context.Context, host string) ([]string, error) {
			if host != "ns.example" {
				t.Errorf("lookup of %q", host)
			}
			mu.Lock()
			defer mu.Unlock()
			return answer, fail
		}
		ctx, cancel := context.WithCancel(t.Context())
		go n.Run(ctx)
		synctest.Wait()
		n.want(t, "10.0.0.1:9876", "10.0.0.2:9876", "[fd00::1]:9876")
		says([]string{"10.0.0.3"}, nil)
		time.Sleep(121 * time.Second)
		synctest.Wait()
		n.want(t, "10.0.0.3:9876")
		says(nil, errors.New("no such host"))
		time.Sleep(120 * time.Second)
		synctest.Wait()
		n.want(t, "10.0.0.3:9876")
		says([]string{"10.0.0.4"}, nil)
		time.Sleep(retryAfter)
		synctest.Wait()
		n.want(t, "10.0.0.4:9876")
		cancel()
		synctest.Wait()
	})
}

// The address server is asked where no address is configured. What it says wrong changes nothing.
func TestNameServers_AddressServer(t *testing.T) {
	page, status := "a:1;b:2\r\nsecond line", http.StatusOK
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/rocketmq/mine" {
			t.Errorf("path %s", r.URL.Path)
		}
		w.WriteHeader(status)
		fmt.Fprint(w, page)
	}))
	defer web.Close()
	n := newServers("fetchNamesrvAddrByAddressServer=true", "rmqAddressServerDomain="+strings.TrimPrefix(web.URL, "http://"), "rmqAddressServerSubGroup=mine")
	if again := n.refresh(t.Context()); again != 10*time.Second {
		t.Errorf("looks again after %v", again)
	}
	n.want(t, "a:1", "b:2")
	for _, bad := range []struct {
		page   string
		status int
	}{{"c:3", http.StatusNotFound}, {"", http.StatusOK}, {"<html>", http.StatusOK}} {
		page, status = bad.page, bad.status
		if again := n.refresh(t.Context()); again != retryAfter {
			t.Errorf("%q: looks again after %v", bad.page, again)
		}
		n.want(t, "a:1", "b:2")
	}
	page, status = "c:3", http.StatusOK
	n.refresh(t.Context())
	n.want(t, "c:3")
	if err := n.settings.Update(map[string]string{"namesrvAddr": "d:4"}, time.Now()); err != nil { // the key wins
		t.Fatal(err)
	}
	n.refresh(t.Context())
	n.want(t, "d:4")
}
