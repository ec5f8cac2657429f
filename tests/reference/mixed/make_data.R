# Simulates the data sets of the mixed-model references and writes them to data/*.csv.
# Run from this folder: Rscript make_data.R
# The files are committed, so that the references do not depend on R's generator staying as it is.
RNGkind("Mersenne-Twister", "Inversion", "Rejection")
dir.create("data", showWarnings = FALSE)
save <- function(table, name) write.csv(table, file.path("data", paste0(name, ".csv")), row.names = FALSE, quote = FALSE)
ids <- function(prefix, i) sprintf("%s%03d", prefix, i)

normal_rows <- function(n, covariance) { # n rows with the given covariance (semi-definite allowed)
  e <- eigen(covariance, symmetric = TRUE)
  z <- matrix(rnorm(n * nrow(covariance)), n)
  z %*% (t(e$vectors) * sqrt(pmax(e$values, 0)))
}

ar_noise <- function(time, rho, sd) { # AR(1) over (possibly gappy or continuous) times of one series
  e <- numeric(length(time))
  e[1] <- rnorm(1)
  for (k in seq_along(time)[-1]) {
    phi <- rho^(time[k] - time[k - 1])
    e[k] <- phi * e[k - 1] + sqrt(1 - phi^2) * rnorm(1)
  }
  sd * e
}

# 1. a reaction-time study: 18 persons, days 0-9, correlated intercepts and slopes
set.seed(101)
b <- normal_rows(18, matrix(c(600, 10, 10, 35), 2))
d <- expand.grid(day = 0:9, i = 1:18)
d$y <- round(251 + b[d$i, 1] + (10.5 + b[d$i, 2]) * d$day + rnorm(180, sd = 25), 3)
save(data.frame(subject = ids("s", d$i), day = d$day, y = d$y), "reaction")

# 2. a growth study: 27 children at ages 8, 10, 12, 14, two sexes, small n
set.seed(102)
b <- normal_rows(27, matrix(c(5, -.2, -.2, .03), 2))
d <- expand.grid(age = c(8, 10, 12, 14), i = 1:27)
d$sex <- ifelse(d$i <= 16, "male", "female")
d$distance <- round(16.5 + b[d$i, 1] + (.66 + b[d$i, 2]) * d$age + ifelse(d$sex == "female", 1 - .3 * d$age, 0) +
  rnorm(108, sd = 1.3), 2)
save(data.frame(child = ids("c", d$i), age = d$age, sex = d$sex, distance = d$distance), "growth")

# 3. three levels: sessions in patients in therapists, missed sessions, three arms, AR(1) residuals
set.seed(103)
rows <- list()
patient <- 0
for (j in 1:14) {
  u <- normal_rows(1, matrix(c(1.5, .12, .12, .05), 2))
  for (k in seq_len(sample(4:9, 1))) {
    patient <- patient + 1
    b <- normal_rows(1, matrix(c(9, -.4, -.4, .12), 2))
    session <- sort(sample(1:16, sample(6:14, 1)))
    arm <- sample(c("CBT", "PDT", "TAU"), 1)
    sex <- sample(c("f", "m"), 1, prob = c(.65, .35))
    mean_alliance <- rnorm(1, 5, .7)
    within <- rnorm(length(session), sd = .8)
    y <- 16 + u[1] + b[1] + (-.45 + u[2] + b[2]) * session - .6 * within - .9 * (mean_alliance - 5) +
      c(CBT = 0, PDT = -.5, TAU = 1.2)[[arm]] + c(CBT = 0, PDT = .05, TAU = .2)[[arm]] * session +
      .7 * (sex == "m") + ar_noise(session, .35, 2.2)
    rows[[patient]] <- data.frame(
      patient = ids("p", patient), therapist = ids("t", j), session, arm, sex,
      within = round(within, 3), between = round(mean_alliance, 3), y = round(y, 3)
    )
  }
}
save(do.call(rbind, rows), "three_level")

# 4. transfers: a quarter of the patients change therapist in mid-course (crossed factors)
set.seed(104)
u <- normal_rows(12, matrix(c(1.8, 0, 0, .04), 2))
rows <- lapply(1:70, function(i) {
  session <- 1:sample(8:14, 1)
  who <- rep(sample(12, 1), length(session))
  if (i %% 4 == 0) who[session > length(session) / 2] <- sample(12, 1)
  b <- normal_rows(1, matrix(c(6, -.3, -.3, .08), 2))
  x <- round(rnorm(length(session)), 3)
  y <- 14 + b[1] + u[who, 1] + (-.4 + b[2] + u[who, 2]) * session + .5 * x + rnorm(length(session), sd = 1.9)
  data.frame(patient = ids("p", i), therapist = ids("t", who), session, x, y = round(y, 3))
})
save(do.call(rbind, rows), "transfers")

# 5. serial correlation: whole sessions with gaps, and continuous days; the residual SD differs by arm
set.seed(105)
rows <- lapply(1:50, function(i) {
  session <- sort(sample(1:20, sample(8:16, 1)))
  day <- round(7 * session + runif(length(session), -2.5, 2.5), 1)
  arm <- c("A", "B")[1 + i %% 2]
  b <- normal_rows(1, matrix(c(4, -.1, -.1, .02), 2))
  x <- round(rnorm(length(session)), 3)
  # at the level of sessions the correlation is .5 per week of 7 days
  y <- 20 + b[1] + (-.3 + b[2]) * session + .4 * x - .8 * (arm == "B") +
    ar_noise(day / 7, .5, if (arm == "B") 2.6 else 1.6)
  data.frame(patient = ids("p", i), session, day, arm, x, y = round(y, 3))
})
save(do.call(rbind, rows), "serial")

# 6. four random effects per patient
set.seed(106)
cov4 <- crossprod(matrix(c(2, 0, 0, 0, .3, .8, 0, 0, -.2, .2, .7, 0, .3, -.1, .2, .6), 4))
rows <- lapply(1:60, function(i) {
  n <- sample(9:15, 1)
  b <- normal_rows(1, cov4)
  x1 <- round(rnorm(n), 3)
  x2 <- round(rnorm(n), 3)
  x3 <- round(rnorm(n), 3)
  y <- 3 + b[1] + (.5 + b[2]) * x1 + (-.3 + b[3]) * x2 + (.2 + b[4]) * x3 + rnorm(n)
  data.frame(patient = ids("p", i), x1, x2, x3, y = round(y, 3))
})
save(do.call(rbind, rows), "four_slopes")

# 7. boundary cases: 25 patients x 8 sessions each
boundary <- function(seed, name, make) {
  set.seed(seed)
  d <- expand.grid(session = 1:8, i = 1:25)
  d$y <- round(make(d), 4)
  save(data.frame(patient = ids("p", d$i), therapist = ids("t", 1 + (d$i - 1) %/% 5), session = d$session, y = d$y), name)
}
centred <- function(z, d) z - ave(z, d$i) # patients' means taken out: less than no variance between patients
boundary(111, "no_variance", function(d) 10 - .2 * d$session + centred(rnorm(200), d))
boundary(112, "no_slope_variance", function(d) {
  e <- rnorm(200) # within-patient slopes taken out: less than no slope variance
  t <- d$session - 4.5
  slope <- ave(e * t, d$i, FUN = sum) / 42
  10 + rnorm(25, sd = 1.5)[d$i] - .2 * d$session + e - slope * t
})
lineless <- function(z, d) { # each patient's own line taken out
  t <- d$session - 4.5
  z <- centred(z, d)
  z - ave(z * t, d$i, FUN = sum) / 42 * t
}
boundary(113, "correlation_one", function(d) {
  b <- rnorm(25)
  10 + 1.5 * b[d$i] + (-.2 + .35 * b[d$i]) * d$session + lineless(rnorm(200), d)
})
boundary(114, "correlation_minus_one", function(d) {
  b <- rnorm(25)
  10 + 2.5 * b[d$i] + (-.2 - .3 * b[d$i]) * d$session + lineless(rnorm(200), d)
})
boundary(116, "no_variance_at_all", function(d) 10 - .2 * d$session + lineless(rnorm(200), d))
boundary(115, "no_therapist_variance", function(d) {
  b <- rnorm(25, sd = 2)
  b <- b - ave(b, 1 + (1:25 - 1) %/% 5) # therapists' means taken out
  10 + b[d$i] - .2 * d$session + rnorm(200)
})

# 8. five patients; half the patients with one session; a calendar year as time; sigma tiny
set.seed(121)
d <- expand.grid(session = 1:12, i = 1:5)
d$y <- round(12 + rnorm(5, sd = 2)[d$i] + (-.3 + rnorm(5, sd = .25)[d$i]) * d$session + rnorm(60), 3)
save(data.frame(patient = ids("p", d$i), session = d$session, y = d$y), "five_patients")
set.seed(122)
rows <- lapply(1:60, function(i) {
  session <- if (i %% 2) 1:sample(5:9, 1) else sample(1:9, 1)
  b <- normal_rows(1, matrix(c(4, -.1, -.1, .06), 2))
  data.frame(patient = ids("p", i), session, y = round(12 + b[1] + (-.3 + b[2]) * session + rnorm(length(session)), 3))
})
save(do.call(rbind, rows), "one_session")
set.seed(123)
d <- expand.grid(k = 0:9, i = 1:30)
year <- 2005 + d$k + (d$i %% 3)
b <- normal_rows(30, matrix(c(3, .1, .1, .09), 2))
save(data.frame(patient = ids("p", d$i), year, y = round(30 + b[d$i, 1] + (-.5 + b[d$i, 2]) * d$k + rnorm(300, sd = .9), 3)),
  "calendar_year")

# 9. exactly two denominator df: three clinics in two formats, five modules within each clinic and format
set.seed(116)
d <- expand.grid(module = 1:5, format = c("group", "single"), clinic = c("c1", "c2", "c3"))
u <- rnorm(6, sd = .4)[as.integer(interaction(d$format, d$clinic))]
d$y <- round(10 + .8 * (d$format == "single") + .3 * d$module + u + rnorm(30, sd = .5), 3)
d$module <- paste0("m", d$module)
save(d[c("clinic", "format", "module", "y")], "split_plot")

# 10. four therapists, two arms, no therapist in both
set.seed(117)
d <- data.frame(therapist = rep(ids("t", 1:4), each = 6), arm = rep(c("CBT", "TAU"), each = 12))
d$y <- round(20 - 2 * (d$arm == "CBT") + rep(rnorm(4), each = 6) + rnorm(24, sd = 2), 3)
save(d, "four_therapists")

# 11. an empty cell: no patient of arm TAU in phase 2
set.seed(118)
d <- expand.grid(phase = c("p1", "p2", "p3"), i = 1:18)
d$patient <- ids("p", d$i)
d$arm <- c("CBT", "PDT", "TAU")[(d$i - 1) %% 3 + 1]
d$y <- round(12 + rnorm(18, sd = 2)[d$i] + 1.5 * (d$arm == "PDT") - 1.2 * (d$phase == "p3") + rnorm(54), 3)
save(d[!(d$arm == "TAU" & d$phase == "p2"), c("patient", "arm", "phase", "y")], "empty_cell")
