"""SimplerEnv's four WidowX tasks on ManiSkill3: runs inside the ``simpler`` environment, on numpy 1 and SAPIEN.

``tasks``, ``actions``, ``state`` and ``expert`` need numpy alone and serve on the policy's side as well.
"""
