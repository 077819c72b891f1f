package topic

// The system's topics. Source: Java TopicValidator, TimerMessageStore; tables/system-topics.tsv.
const (
	SelfTest         = "SELF_TEST_TOPIC"
	AutoCreateKey    = "TBW102" // the template of topics that are created by sending
	Benchmark        = "BenchmarkTest"
	OffsetMovedEvent = "OFFSET_MOVED_EVENT"
	Schedule         = "SCHEDULE_TOPIC_XXXX" // queue = delay level - 1
	Trace            = "RMQ_SYS_TRACE_TOPIC"
	TransHalf        = "RMQ_SYS_TRANS_HALF_TOPIC"
	TransOpHalf      = "RMQ_SYS_TRANS_OP_HALF_TOPIC"
	RocksTransHalf   = "RMQ_SYS_ROCKSDB_TRANS_HALF_TOPIC"
	RocksTransOpHalf = "RMQ_SYS_ROCKSDB_TRANS_OP_HALF_TOPIC"
	TransCheckMax    = "TRANS_CHECK_MAX_TIME_TOPIC"
	Timer            = "rmq_sys_wheel_timer"
	Checkpoint       = "CHECKPOINT_TOPIC"
)

// system has the system's topics; true are those that clients may not send to.
var system = map[string]bool{
	SelfTest: true, AutoCreateKey: false, Benchmark: false, OffsetMovedEvent: true, Schedule: true, Trace: false,
	TransHalf: true, TransOpHalf: true, RocksTransHalf: true, RocksTransOpHalf: true, TransCheckMax: true, Checkpoint: false,
}

// IsSystem tells whether a topic belongs to the system, so that nobody may create or delete it. The topics named after
// the cluster and the broker do too; whoever knows those names asks for them as well.
func IsSystem[T text](name T) bool {
	_, ok := system[string(name)]
	return ok || hasPrefix(name, SystemPrefix)
}

// MaySend tells whether clients may send to a topic: not to those whose records mean something to the broker.
// Source: Java TopicValidator.isNotAllowedSendTopic.
func MaySend[T text](name T) bool { return !system[string(name)] }

// groups has the groups that every broker has.
var groups = []string{
	"TOOLS_CONSUMER", "FILTERSRV_CONSUMER", "SELF_TEST_C_GROUP", "CID_ONS-HTTP-PROXY", "CID_ONSAPI_PULL",
	"CID_ONSAPI_PERMISSION", "CID_ONSAPI_OWNER", "CID_RMQ_SYS_TRANS",
}

// SystemGroups returns the names of the groups that every broker has.
// Source: Java SubscriptionGroupManager.init.
func SystemGroups() []string { return append([]string(nil), groups...) }

// IsSystemGroup tells whether a group belongs to the system. Source: Java MixAll.isSysConsumerGroup.
func IsSystemGroup[T text](name T) bool {
	for _, g := range groups {
		if string(name) == g {
			return true
		}
	}
	return hasPrefix(name, SystemGroupPrefix)
}
