"""What the targets of NVIDIA's builders share: profiles, the build itself, and what is known before it."""
