"""thinkvla policies in LeRobot. Importing this registers the policy type ``thinkvla``; the rest is imported by LeRobot.

LeRobot finds ``ThinkVLAPolicy`` and ``make_thinkvla_pre_post_processors`` by their modules' names.
"""

from lerobot_policy_thinkvla.configuration_thinkvla import ThinkVLAConfig

__all__ = ["ThinkVLAConfig"]
