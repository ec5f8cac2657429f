# The four models of tests/dynamics/test_reference.py in lavaan: Rscript lavaan.R writes lavaan.json beside itself.
# Every model: random intercepts (and slopes), deviations with a free covariance matrix at the first wave, first-order
# lagged coefficients and shocks equal over waves. lavaan stops early where the likelihood is flat, so the search
# goes on once from where it ended.
suppressPackageStartupMessages(library(lavaan))

model <- function(waves, means, slopes, error) {
  t <- seq_len(waves)
  a <- paste0("a", t); s <- paste0("s", t)
  out <- c(paste("ba =~", paste0("1*", a, collapse = " + ")), paste("bs =~", paste0("1*", s, collapse = " + ")))
  random <- c("ba", "bs")
  if (slopes) {
    out <- c(out, paste("la =~", paste0(t - 1, "*", a, collapse = " + ")), paste("ls =~", paste0(t - 1, "*", s, collapse = " + ")))
    random <- c(random, "la", "ls")
  }
  e <- if (error) c("ea*", "es*") else c("0*", "0*")
  for (w in t) {
    out <- c(out, sprintf("wa%d =~ 1*a%d", w, w), sprintf("ws%d =~ 1*s%d", w, w),
             sprintf("a%d ~~ %sa%d", w, e[1], w), sprintf("s%d ~~ %ss%d", w, e[2], w))
    if (w > 1) out <- c(out, sprintf("wa%d ~ paa*wa%d + pas*ws%d", w, w - 1, w - 1), sprintf("ws%d ~ psa*wa%d + pss*ws%d", w, w - 1, w - 1),
                        sprintf("wa%d ~~ qa*wa%d", w, w), sprintf("ws%d ~~ qs*ws%d", w, w), sprintf("wa%d ~~ qas*ws%d", w, w))
  }
  out <- c(out, "wa1 ~~ va*wa1", "ws1 ~~ vs*ws1", "wa1 ~~ vas*ws1")
  for (i in seq_along(random)) for (j in seq_len(i)) out <- c(out, sprintf("%s ~~ d%d%d*%s", random[i], i, j, random[j]))
  for (r in random) out <- c(out, sprintf("%s ~~ 0*wa1 + 0*ws1", r))
  if (means == "free") out <- c(out, sprintf("a%d ~ ma%d*1", t, t), sprintf("s%d ~ ms%d*1", t, t))
  else { # a line: every wave's mean is tied to the first two
    out <- c(out, sprintf("a%d ~ ma%d*1", t, t), sprintf("s%d ~ ms%d*1", t, t))
    for (m in c("ma", "ms")) for (w in t[-(1:2)]) out <- c(out, sprintf("%s%d == %s1 + %d*(%s2 - %s1)", m, w, m, w - 1, m, m))
  }
  paste(out, collapse = "\n")
}

cases <- list(
  free = list(file = "six_waves.csv", waves = 6, means = "free", slopes = FALSE, error = FALSE),
  linear = list(file = "six_waves.csv", waves = 6, means = "linear", slopes = FALSE, error = FALSE),
  slopes = list(file = "seven_waves_slopes.csv", waves = 7, means = "linear", slopes = TRUE, error = FALSE),
  error = list(file = "eight_waves_error.csv", waves = 8, means = "linear", slopes = FALSE, error = TRUE)
)
here <- dirname(sub("--file=", "", grep("--file=", commandArgs(FALSE), value = TRUE)))
text <- character()
for (name in names(cases)) {
  case <- cases[[name]]
  data <- read.csv(file.path(here, case$file))
  syntax <- model(case$waves, case$means, case$slopes, case$error)
  blank <- parTable(lavaan(syntax, data, missing = "ml", do.fit = FALSE))
  begin <- c(paa = .3, pas = 0, psa = 0, pss = .3, qa = .3, qs = 9, qas = 0, va = .4, vs = 12, vas = 0, d11 = .4, d22 = 12, d21 = 0,
             ea = .1, es = 2, ma1 = 5, ma2 = 5, ms1 = 16, ms2 = 15)
  if (case$slopes) begin <- c(begin, d33 = .01, d44 = .1, d31 = 0, d41 = 0, d32 = 0, d42 = 0, d43 = 0)
  known <- blank$label %in% names(begin) & blank$free > 0
  blank$ustart[known] <- blank$start[known] <- begin[blank$label[known]]
  seconds <- system.time(fit <- lavaan(blank, data, missing = "ml"))[["elapsed"]]
  blank$ustart <- blank$start <- parTable(fit)$est # go on from where it ended
  fit <- lavaan(blank, data, missing = "ml")
  table <- parameterEstimates(fit, ci = FALSE)
  table <- table[table$label != "" & !duplicated(table$label) & !is.na(table$est), ]
  table <- table[!(table$op %in% c("==", ":=")), ]
  proper <- lavInspect(fit, "post.check")
  cat(name, "converged", lavInspect(fit, "converged"), "proper", proper, "log-likelihood", as.numeric(logLik(fit)), "seconds", seconds, "\n")
  numbers <- function(x) paste(sprintf('"%s": %.10g', table$label, x), collapse = ", ")
  text <- c(text, sprintf('"%s": {"log_likelihood": %.8f, "converged": %s, "proper": %s, "estimates": {%s}, "std_errors": {%s}}',
    name, as.numeric(logLik(fit)), tolower(lavInspect(fit, "converged")), tolower(proper), numbers(table$est), numbers(table$se)))
}
versions <- sprintf('"versions": {"R": "%s", "lavaan": "%s"}', getRversion(), packageVersion("lavaan"))
writeLines(paste0("{", paste(c(versions, text), collapse = ",\n"), "}"), file.path(here, "lavaan.json"))
