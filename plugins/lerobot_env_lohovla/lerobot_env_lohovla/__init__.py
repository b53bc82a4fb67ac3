"""LoHoVLA's block tasks as environments of LeRobot; importing it registers ``--env.type=lohovla``."""

from lerobot_env_lohovla.configuration_lohovla import LoHoVLAEnvConfig

__all__ = ["LoHoVLAEnvConfig"]
