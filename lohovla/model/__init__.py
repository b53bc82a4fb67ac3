"""The hybrid core: one decoder with language, pointer, image, action and progress heads."""
