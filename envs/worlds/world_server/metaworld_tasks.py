"""MetaWorld's tasks: what each asks for in words, how hard it is held to be, and how far its expert may be pushed off.

The groups are those by which results are published (Seo et al. 2022, arXiv 2206.14244, and SmolVLA, arXiv 2506.01844).
Noise is the standard deviation that is added to the expert's motion, as a share of the largest action: while the
gripper is open, and while it closes or holds. Where the second is small, an expert that loses its object starts over
and mostly fails.
"""

from __future__ import annotations

GROUPS = ("easy", "medium", "hard", "very_hard")

# name: (sentence, group, (noise, noise while the gripper closes))
TASKS: dict[str, tuple[str, str, tuple[float, float]]] = {
    "assembly-v3": ("Lift the nut and put it over the peg", "hard", (0.2, 0.03)),
    "basketball-v3": ("Drop the ball through the hoop", "medium", (0.3, 0.03)),
    "bin-picking-v3": ("Move the block from one bin to the other", "medium", (0.3, 0.03)),
    "box-close-v3": ("Put the lid on the box", "medium", (0.3, 0.03)),
    "button-press-topdown-v3": ("Press the button from above", "easy", (0.3, 0.3)),
    "button-press-topdown-wall-v3": ("Press the button behind the wall from above", "easy", (0.3, 0.3)),
    "button-press-v3": ("Press the button from the front", "easy", (0.3, 0.3)),
    "button-press-wall-v3": ("Press the button behind the wall from the front", "easy", (0.3, 0.03)),
    "coffee-button-v3": ("Press the button of the coffee machine", "easy", (0.2, 0.2)),
    "coffee-pull-v3": ("Pull the mug away from the coffee machine", "medium", (0.2, 0.03)),
    "coffee-push-v3": ("Push the mug under the coffee machine", "medium", (0.2, 0.03)),
    "dial-turn-v3": ("Turn the dial", "easy", (0.3, 0.03)),
    "disassemble-v3": ("Lift the nut off the peg", "very_hard", (0.3, 0.03)),
    "door-close-v3": ("Close the door", "easy", (0.3, 0.3)),
    "door-lock-v3": ("Turn the lock to lock the door", "easy", (0.2, 0.2)),
    "door-open-v3": ("Open the door", "easy", (0.3, 0.3)),
    "door-unlock-v3": ("Turn the lock to unlock the door", "easy", (0.3, 0.3)),
    "hand-insert-v3": ("Put the hand into the hole", "hard", (0.3, 0.03)),
    "drawer-close-v3": ("Close the drawer", "easy", (0.3, 0.3)),
    "drawer-open-v3": ("Open the drawer", "easy", (0.2, 0.2)),
    "faucet-open-v3": ("Turn the faucet on", "easy", (0.3, 0.3)),
    "faucet-close-v3": ("Turn the faucet off", "easy", (0.3, 0.3)),
    "hammer-v3": ("Drive the nail into the wall with the hammer", "medium", (0.3, 0.03)),
    "handle-press-side-v3": ("Press the handle down from the side", "easy", (0.3, 0.3)),
    "handle-press-v3": ("Press the handle down", "easy", (0.3, 0.3)),
    "handle-pull-side-v3": ("Pull the handle up from the side", "easy", (0.2, 0.2)),
    "handle-pull-v3": ("Pull the handle up", "easy", (0.3, 0.3)),
    "lever-pull-v3": ("Pull the lever up", "easy", (0.3, 0.03)),
    "pick-place-wall-v3": ("Carry the puck over the wall to the mark", "very_hard", (0.2, 0.03)),
    "pick-out-of-hole-v3": ("Take the puck out of the hole", "hard", (0.3, 0.03)),
    "pick-place-v3": ("Pick the puck up and hold it at the mark", "hard", (0.25, 0.03)),
    "plate-slide-v3": ("Slide the plate into the goal", "easy", (0.3, 0.3)),
    "plate-slide-side-v3": ("Slide the plate sideways into the goal", "easy", (0.3, 0.3)),
    "plate-slide-back-v3": ("Slide the plate out of the goal", "easy", (0.1, 0.1)),
    "plate-slide-back-side-v3": ("Slide the plate sideways out of the goal", "easy", (0.3, 0.03)),
    "peg-insert-side-v3": ("Insert the peg into the box from the side", "medium", (0.3, 0.03)),
    "peg-unplug-side-v3": ("Pull the plug out sideways", "easy", (0.3, 0.03)),
    "soccer-v3": ("Kick the ball into the goal", "medium", (0.3, 0.03)),
    "stick-push-v3": ("Push the thermos with the stick", "very_hard", (0.3, 0.03)),
    "stick-pull-v3": ("Pull the thermos with the stick", "very_hard", (0.3, 0.03)),
    "push-v3": ("Push the puck to the mark", "hard", (0.25, 0.03)),
    "push-wall-v3": ("Push the puck around the wall to the mark", "medium", (0.2, 0.2)),
    "push-back-v3": ("Push the puck back to the mark", "hard", (0.3, 0.3)),
    "reach-v3": ("Move the hand to the mark", "easy", (0.2, 0.2)),
    "reach-wall-v3": ("Move the hand to the mark behind the wall", "easy", (0.3, 0.3)),
    "shelf-place-v3": ("Put the block on the shelf", "very_hard", (0.3, 0.03)),
    "sweep-into-v3": ("Sweep the block into the hole", "medium", (0.3, 0.03)),
    "sweep-v3": ("Sweep the block off the table", "medium", (0.3, 0.3)),
    "window-open-v3": ("Slide the window open", "easy", (0.3, 0.3)),
    "window-close-v3": ("Slide the window shut", "easy", (0.3, 0.3)),
}
