"""LoHoVLA's general core as a policy of LeRobot; importing it registers ``--policy.type=lohovla``."""

from lerobot_policy_lohovla.configuration_lohovla import LeRobotLoHoVLAConfig

__all__ = ["LeRobotLoHoVLAConfig"]
