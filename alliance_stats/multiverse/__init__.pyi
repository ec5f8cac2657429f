from alliance_stats.multiverse.fit import summarise_multiverse as summarise_multiverse
from alliance_stats.multiverse.joint import JointTest as JointTest
from alliance_stats.multiverse.joint import joint_test as joint_test
