//! The data sets of the paper, built from the original downloads.

mod reproduce;
