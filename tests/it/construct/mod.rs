//! The data sets of the paper, built from the original downloads.

mod benchmark;
mod review;
mod review_page;
mod stats;
