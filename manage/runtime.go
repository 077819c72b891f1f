package manage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"rocketd/internal/vfs"
	"rocketd/protocol"
)

// Runtime is what runtime information needs to know beside the tables.
type Runtime struct {
	Started       time.Time
	FS            vfs.FS
	CommitLogDirs []string
	QueueDir      string     // of the consume queues
	Pool          func() int // calls that wait for the pool
	Timers        func() Timers
	Delays        func() map[int32][2]int64 // of each delay level: how far it is delivered, where its queue ends
}

// Timers says how far timed messages are delivered.
type Timers struct {
	ReadBehind   time.Duration // what was due so long ago is delivered
	OffsetBehind int64         // messages that are not in the wheel yet
	Waiting      int64         // messages in it
}

// versionDesc is the name of protocol.Version. Source: tables/mq-versions.tsv.
const versionDesc = "V5_5_1"

// RuntimeInfo serves GET_BROKER_RUNTIME_INFO (28). Readers parse many keys without asking whether they are there, so
// every key of Java's is. Keys of things that we do not have or do not measure (thread pools, the buffer of the
// dispatcher, rates of timers, longest and usual times of a put) hold what an idle Java broker says. Beside Java 5.5's
// keys there is brokerVersion, which the exporter still reads. Source: Java AdminBrokerProcessor.prepareRuntimeInfo;
// remoting.md 3.4.2.
func (s *Service) RuntimeInfo(context.Context, *protocol.Call) (protocol.Fielder, []byte, error) {
	t := make(map[string]string)
	now := time.Now()
	t["brokerVersionDesc"] = versionDesc
	t["brokerVersion"] = strconv.Itoa(int(protocol.Version))
	t["brokerActive"] = "true"
	t["bootTimestamp"] = number(s.cfg.Runtime.Started.UnixMilli())
	t["runtime"] = lasted(now.Sub(s.cfg.Runtime.Started))
	t["startAcceptSendRequestTimeStamp"] = s.cfg.Settings.String("startAcceptSendRequestTimeStamp")
	s.addRates(t, now)
	s.addDisk(t)
	s.addPools(t)
	for key, value := range map[string]string{
		"dispatchBehindBytes": "0", // the queues grow in the same step as the log
		"dispatchMaxBuffer":   "0", "pageCacheLockTimeMills": "0", "remainTransientStoreBufferNumbs": "2147483647",
		"putMessageEntireTimeMax": "0", "getMessageEntireTimeMax": "0", "putMessageDistributeTime": "null",
		"putLatency99": "0.00", "putLatency999": "0.00",
		"timerEnqueueTps": "0.0", "timerDequeueTps": "0.0",
	} {
		t[key] = value
	}
	var timers Timers
	if s.cfg.Runtime.Timers != nil {
		timers = s.cfg.Runtime.Timers()
	}
	t["timerReadBehind"] = number(int64(timers.ReadBehind / time.Second))
	t["timerOffsetBehind"], t["timerCongestNum"] = number(timers.OffsetBehind), number(timers.Waiting)
	if s.cfg.Runtime.Delays != nil {
		for level, at := range s.cfg.Runtime.Delays() {
			t["scheduleMessageOffset_"+strconv.Itoa(int(level))] = fmt.Sprintf("%d,%d", at[0], at[1])
		}
	}
	return body(protocol.KVTable{Table: t})
}

func (s *Service) addRates(t map[string]string, now time.Time) {
	b := s.cfg.Stats
	t["putTps"] = b.Rates(now, &b.Put)
	t["getFoundTps"] = b.Rates(now, &b.GetFound)
	t["getMissTps"] = b.Rates(now, &b.GetMiss)
	t["getTotalTps"] = sumRates(t["getFoundTps"], t["getMissTps"])
	t["getTransferredTps"] = b.Rates(now, &b.GetMessages)
	put, size := b.Put.Load(), b.PutBytes.Load()
	t["putMessageTimesTotal"] = number(put)
	t["putMessageFailedTimes"] = number(b.PutFailed.Load())
	t["putMessageSizeTotal"] = number(size)
	t["putMessageAverageSize"] = strconv.FormatFloat(float64(size)/float64(max(put, 1)), 'f', -1, 64)
	yesterdayPut, yesterdayGet, todayPut, todayGet := b.Mornings()
	t["msgPutTotalYesterdayMorning"] = number(yesterdayPut)
	t["msgPutTotalTodayMorning"] = number(todayPut)
	t["msgPutTotalTodayNow"] = number(put)
	t["msgGetTotalYesterdayMorning"] = number(yesterdayGet)
	t["msgGetTotalTodayMorning"] = number(todayGet)
	t["msgGetTotalTodayNow"] = number(b.GetMessages.Load())
}

func (s *Service) addDisk(t map[string]string) {
	log, r := s.cfg.Store, s.cfg.Runtime
	t["commitLogMinOffset"] = number(log.MinPhysical())
	t["commitLogMaxOffset"] = number(log.MaxPhysical())
	t["earliestMessageTimeStamp"] = number(log.EarliestTime())
	t["remainHowManyDataToFlush"] = bytes(max(log.MaxPhysical()-log.Flushed(), 0))
	for i, dir := range r.CommitLogDirs {
		ratio, free, total := diskUse(r.FS, dir)
		t["commitLogDiskRatio_"+dir] = ratio
		if i == 0 || ratio < t["commitLogDiskRatio"] { // the emptiest counts
			t["commitLogDiskRatio"] = ratio
			t["commitLogDirCapacity"] = fmt.Sprintf("Total : %s, Free : %s.", bytes(total), bytes(free))
		}
	}
	t["consumeQueueDiskRatio"], _, _ = diskUse(r.FS, r.QueueDir)
}

// diskUse returns the used part of the disk that dir is on; -1, like Java, when the disk does not tell.
func diskUse(fs vfs.FS, dir string) (ratio string, free, total int64) {
	free, total, err := fs.Free(dir)
	if err != nil || total <= 0 {
		return "-1.0", 0, 0
	}
	return strconv.FormatFloat(float64(total-free)/float64(total), 'f', 2, 64), free, total
}

// addPools tells of thread pools. Sends and pulls need none here; what waits for our pool is shown as queries.
func (s *Service) addPools(t map[string]string) {
	for _, pool := range []string{"send", "pull", "litePull", "query", "ack"} {
		t[pool+"ThreadPoolQueueSize"] = "0"
		t[pool+"ThreadPoolQueueHeadWaitTimeMills"] = "0"
		t[pool+"ThreadPoolQueueCapacity"] = s.cfg.Settings.String(pool + "ThreadPoolQueueCapacity")
	}
	t["queryThreadPoolQueueSize"] = strconv.Itoa(s.cfg.Runtime.Pool())
	t["EndTransactionQueueSize"] = "0"
	t["EndTransactionThreadPoolQueueCapacity"] = s.cfg.Settings.String("endTransactionPoolQueueCapacity")
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

// lasted writes a duration as Java's tools show it.
func lasted(d time.Duration) string {
	seconds := int64(d / time.Second)
	return fmt.Sprintf("[ %d days, %d hours, %d minutes, %d seconds ]",
		seconds/86400, seconds/3600%24, seconds/60%60, seconds%60)
}

// sumRates adds two texts of rates, number by number.
func sumRates(a, b string) string {
	y := strings.Fields(b)
	var sum []string
	for i, x := range strings.Fields(a) {
		v, _ := strconv.ParseFloat(x, 64)
		if i < len(y) {
			w, _ := strconv.ParseFloat(y[i], 64)
			v += w
		}
		sum = append(sum, strconv.FormatFloat(v, 'f', 2, 64))
	}
	return strings.Join(sum, " ")
}

// bytes writes a size for people: "5 B", "12.3 KiB". Source: Java MixAll.humanReadableByteCount.
func bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n)/1024, 0
	for v >= 1024 && unit < len("KMGTPE")-1 {
		v /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", v, "KMGTPE"[unit])
}
