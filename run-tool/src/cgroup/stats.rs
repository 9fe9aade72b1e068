//! Usage of the control groups, for `events`.
