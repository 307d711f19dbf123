"""May a model replace the champion?"""
