"""The keyframe head: image points and poses of the next grasp and release."""
