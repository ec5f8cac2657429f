# One engine on one file, timed in process; called by bench_mixed.py.
# Rscript bench_mixed.R FILE.csv ENGINE MODEL REPEATS [cpu] -> one line of JSON: seconds, deviance, peak memory of the fit in MB
arguments <- commandArgs(TRUE)
engine <- arguments[2]
model <- arguments[3]
repeats <- as.integer(arguments[4])
clock <- if (identical(arguments[5], "cpu")) function() sum(proc.time()[1:2]) else function() as.numeric(Sys.time())
suppressPackageStartupMessages({
  if (engine == "nlme") library(nlme) else library(lme4)
  if (engine == "lmerTest") library(lmerTest)
  if (engine == "pbkrtest") library(pbkrtest)
  if (engine == "clubSandwich") library(clubSandwich)
})
d <- read.csv(arguments[1])
d$patient <- factor(d$patient)
d$therapist <- factor(d$therapist)
A <- y ~ t + within + (1 + t | patient)
formula <- if (model == "B") update(A, . ~ . + (1 | therapist)) else A
if (engine %in% c("pbkrtest", "profile", "clubSandwich")) fitted_model <- lmer(formula, d)
fit_once <- function() {
  if (engine == "pbkrtest") { # covariance and df of every coefficient
    vcovAdj(fitted_model)
    for (j in 1:3) get_Lb_ddf(fitted_model, as.numeric(1:3 == j))
    return(0)
  }
  if (engine == "profile") {
    suppressWarnings(confint(fitted_model, method = "profile", quiet = TRUE))
    return(0)
  }
  if (engine == "clubSandwich") {
    coef_test(fitted_model, vcov = "CR2", test = "Satterthwaite")
    return(0)
  }
  if (engine == "lmer") return(-2 * as.numeric(logLik(lmer(formula, d, control = lmerControl(calc.derivs = FALSE)))))
  if (engine == "lmerTest") {
    m <- lmerTest::lmer(formula, d)
    coef(summary(m))
    return(-2 * as.numeric(logLik(m)))
  }
  -2 * as.numeric(logLik(lme(y ~ t + within, random = ~ 1 + t | patient, data = d, correlation = corAR1(form = ~ session | patient),
                             control = lmeControl(msMaxIter = 200, maxIter = 200, returnObject = TRUE))))
}
memory <- function(field) {
  status <- tryCatch(readLines("/proc/self/status"), error = function(e) character())
  line <- grep(paste0("^", field, ":"), status, value = TRUE)
  if (length(line)) as.numeric(gsub("[^0-9]", "", line)) / 1024 else NA
}
invisible(gc())
tryCatch(writeLines("5", "/proc/self/clear_refs"), error = function(e) NULL, warning = function(w) NULL) # forget the peak so far
before <- memory("VmRSS")
seconds <- numeric()
for (k in seq_len(repeats)) {
  started <- clock()
  deviance <- fit_once()
  seconds <- c(seconds, clock() - started)
  if (k == 1) peak <- memory("VmHWM")
}
cat(sprintf('{"seconds": [%s], "deviance": %.10f, "peak": %.1f, "before": %.1f}\n', paste(format(seconds, digits = 8), collapse = ", "), deviance, peak, before))
