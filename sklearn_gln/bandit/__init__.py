from sklearn_gln.bandit._bandit import GLNBandit

__all__ = ["GLNBandit"]
GLNBandit.__module__ = __name__
