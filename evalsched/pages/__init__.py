"""The pages for members: experiments, their results side by side, and one case in full."""
