package broker

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"rocketd/internal/vfs"
	"rocketd/settings"
)

// Config of a Broker.
type Config struct {
	Settings *settings.Settings
	FS       vfs.FS // nil means the operating system's
	Log      *slog.Logger
	// Ready is called once, when the broker serves and has tried to register with every NameServer.
	Ready func(Ready)
}

// Ready says how a start went.
type Ready struct {
	Name       string // brokerName
	Addr       string // brokerIP1:listenPort, as it is registered
	Namesrv    string // the configured list, "" if there is none
	Registered int    // NameServers that know us now
}

// identity is who this broker is; none of it changes while it runs.
type identity struct {
	cluster, name string
	id            int64
	addr, haAddr  netip.AddrPort
	listen, fast  string
	listenHA      string
	region        string
}

func newIdentity(s *settings.Settings) (identity, error) {
	port := s.Int("listenPort")
	if port < 3 || port > 65535 {
		return identity{}, fmt.Errorf("listenPort is %d: it must be between 3 and 65535, since the fast port is listenPort-2", port)
	}
	ip, err := netip.ParseAddr(strings.TrimSpace(s.String("brokerIP1")))
	if err != nil {
		return identity{}, fmt.Errorf("brokerIP1 is no IP address: %w", err)
	}
	ha, err := netip.ParseAddr(strings.TrimSpace(s.String("brokerIP2")))
	if err != nil {
		return identity{}, fmt.Errorf("brokerIP2 is no IP address: %w", err)
	}
	haPort := s.Int("haListenPort")
	if haPort <= 0 {
		haPort = port + 1
	}
	if haPort > 65535 {
		return identity{}, fmt.Errorf("haListenPort is %d: it must be 65535 at most (it is listenPort+1 unless set)", haPort)
	}
	bind := s.String("bindAddress")
	return identity{
		cluster: s.String("brokerClusterName"),
		name:    s.String("brokerName"),
		id:      s.Int64("brokerId"),
		addr:    netip.AddrPortFrom(ip, uint16(port)),
		haAddr:  netip.AddrPortFrom(ha, uint16(haPort)),
		listen:  net.JoinHostPort(bind, strconv.Itoa(port)),
		fast:    net.JoinHostPort(bind, strconv.Itoa(port-2)),

		listenHA: net.JoinHostPort(bind, strconv.Itoa(haPort)),
		region:   s.String("regionId"),
	}, nil
}

// loops is the number of I/O loops; 0, where nothing is set, lets remoting choose. Java's own default is no wish.
func loops(s *settings.Settings) int {
	if !s.IsSet("serverSelectorThreads") {
		return 0
	}
	return s.Int("serverSelectorThreads")
}

// live holds the settings that hot paths ask for and that may change at run time.
type live struct {
	permission, maxMessageSize                  atomic.Int64
	litePull, longPolling, autoTopic, autoGroup atomic.Bool
	shortPolling                                atomic.Int64
	rejectPull, notifyGroups, strictLock        atomic.Bool
	totalReplicas                               atomic.Int64
	filterBits, coldControl, broadcasts         atomic.Bool
	coldGroup, coldGlobal                       atomic.Int64 // bytes in a round
}

func newLive(s *settings.Settings) *live {
	l := new(live)
	number := func(key string, to *atomic.Int64) { followNumber(s, key, to) }
	flag := func(key string, to *atomic.Bool) { followFlag(s, key, to) }
	number("brokerPermission", &l.permission)
	number("maxMessageSize", &l.maxMessageSize)
	number("shortPollingTimeMills", &l.shortPolling)
	number("totalReplicas", &l.totalReplicas)
	number("cgColdReadThreshold", &l.coldGroup)
	number("globalColdReadThreshold", &l.coldGlobal)
	flag("coldDataFlowControlEnable", &l.coldControl)
	flag("enableBroadcastOffsetStore", &l.broadcasts)
	flag("enableCalcFilterBitMap", &l.filterBits)
	flag("lockInStrictMode", &l.strictLock)
	flag("litePullMessageEnable", &l.litePull)
	flag("longPollingEnable", &l.longPolling)
	flag("autoCreateTopicEnable", &l.autoTopic)
	flag("autoCreateSubscriptionGroup", &l.autoGroup)
	flag("rejectPullConsumerEnable", &l.rejectPull)
	flag("notifyConsumerIdsChangedEnable", &l.notifyGroups)
	return l
}

// followFlag and followNumber keep to what a key says, now and later.
func followFlag(s *settings.Settings, key string, to *atomic.Bool) {
	set := func() { to.Store(s.Bool(key)) }
	set()
	s.OnChange(key, set)
}

func followNumber(s *settings.Settings, key string, to *atomic.Int64) {
	set := func() { to.Store(s.Int64(key)) }
	set()
	s.OnChange(key, set)
}

// liveFlag and liveNumber are one setting each that may change at run time.
func liveFlag(s *settings.Settings, key string) *atomic.Bool {
	v := new(atomic.Bool)
	followFlag(s, key, v)
	return v
}

func liveNumber(s *settings.Settings, key string) *atomic.Int64 {
	v := new(atomic.Int64)
	followNumber(s, key, v)
	return v
}

func (l *live) writable() bool { return l.permission.Load()&2 != 0 }
func (l *live) readable() bool { return l.permission.Load()&4 != 0 }

func (l *live) shortPoll() time.Duration {
	return time.Duration(l.shortPolling.Load()) * time.Millisecond
}

// dirs are the places on disk.
type dirs struct{ root, commitLog, config string }

// commitLogs are the directories that hold the log, at least one.
func (d dirs) commitLogs() []string { return strings.Split(d.commitLog, ",") }

func newDirs(s *settings.Settings) dirs {
	root := s.String("storePathRootDir")
	d := dirs{root: root, commitLog: s.String("storePathCommitLog"), config: filepath.Join(root, "config")}
	if d.commitLog == "" {
		d.commitLog = filepath.Join(root, "commitlog")
	}
	return d
}

// askedLater are the keys that are asked when a request needs them, long after the start.
var askedLater = []string{"forwardTimeout",
	"namesrvAddr", "registerNameServerPeriod", "registerBrokerTimeoutMills", "indexFileReadEnable",
	"clearRetryTopicWhenDeleteTopic", "enableMixedMessageType", "enableSplitMetadata", "splitMetadataSize",
	"validateSystemTopicWhenUpdateTopic", "useServerSideResetOffset", "startAcceptSendRequestTimeStamp",
	"forceRegister", "enableSingleTopicRegister", "enableSplitRegistration", "splitRegistrationSize", "sendHeartbeatTimeoutMillis", "brokerNotActiveTimeoutMillis",
	"brokerHeartbeatInterval", "syncBrokerMemberGroupPeriod", "compatibleWithOldNameSrv", "updateNameServerAddrPeriod",
	"fetchNameSrvAddrByDnsLookup", "fetchNamesrvAddrByAddressServer", "fetchNamesrvAddrInterval", "rmqAddressServerDomain", "rmqAddressServerSubGroup",
	"storeReplyMessageEnable", "filterDataCleanTimeSpan", "broadcastOffsetExpireSecond", "broadcastOffsetExpireMaxSecond", "enableLmqQuota", "maxLmqConsumeQueueNum",
	"serverLoadBalancerEnable", "defaultMessageRequestMode", "defaultPopShareQueueNum", "loadBalancePollNameServerInterval",
	"haMasterAddress", "skipPreOnline", "enableRemoteEscape", "syncMasterFlushOffsetWhenStartup", "maxHaTransferByteInSecond",
	"transactionCheckInterval", "rejectTransactionMessage",
	"maxLiteSubscriptionCount", "maxClientEventCount", "liteEventCheckInterval", "liteSubscriptionCheckInterval", "liteSubscriptionCheckTimeoutMills",
	"liteTtlCheckInterval", "minLiteTTl", "liteLagLatencyCollectEnable",
	"inSyncReplicas", "minInSyncReplicas", "enableAutoInSyncReplicas", "allAckInSyncStateSet", "haMaxGapNotInSync", // of a master; a slave may have them too
}

// warnUnasked names the keys that were set and that nothing here looks at.
func warnUnasked(s *settings.Settings, log *slog.Logger) {
	for _, key := range askedLater {
		s.String(key)
	}
	for _, key := range s.Unasked() {
		log.Warn("configuration key has no effect", "key", key)
	}
}
