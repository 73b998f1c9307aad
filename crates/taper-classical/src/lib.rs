//! The classical side of deep against machine learning: PCA and its kin.
