# lavaan on one wide file, timed in process; called by bench_dynamics.py.
# Rscript bench_dynamics.R FILE.csv MODEL REPEATS [cpu] -> one line of JSON: seconds, log-likelihood, proper
arguments <- commandArgs(TRUE)
kind <- arguments[2]
repeats <- as.integer(arguments[3])
clock <- if (identical(arguments[4], "cpu")) function() sum(proc.time()[1:2]) else function() as.numeric(Sys.time())
suppressPackageStartupMessages(library(lavaan))
data <- read.csv(arguments[1])
waves <- ncol(data) / 2
t <- seq_len(waves)
a <- paste0("a", t); s <- paste0("s", t)
out <- c(paste("ba =~", paste0("1*", a, collapse = " + ")), paste("bs =~", paste0("1*", s, collapse = " + ")))
random <- c("ba", "bs")
if (kind == "slopes") {
  out <- c(out, paste("la =~", paste0(t - 1, "*", a, collapse = " + ")), paste("ls =~", paste0(t - 1, "*", s, collapse = " + ")))
  random <- c(random, "la", "ls")
}
e <- if (kind == "error") c("ea*", "es*") else c("0*", "0*")
for (w in t) {
  out <- c(out, sprintf("wa%d =~ 1*a%d", w, w), sprintf("ws%d =~ 1*s%d", w, w), sprintf("a%d ~~ %sa%d", w, e[1], w), sprintf("s%d ~~ %ss%d", w, e[2], w))
  if (w > 1) out <- c(out, sprintf("wa%d ~ paa*wa%d + pas*ws%d", w, w - 1, w - 1), sprintf("ws%d ~ psa*wa%d + pss*ws%d", w, w - 1, w - 1),
                      sprintf("wa%d ~~ qa*wa%d", w, w), sprintf("ws%d ~~ qs*ws%d", w, w), sprintf("wa%d ~~ qas*ws%d", w, w))
}
out <- c(out, "wa1 ~~ wa1", "ws1 ~~ ws1", "wa1 ~~ ws1", sprintf("a%d ~ 1", t), sprintf("s%d ~ 1", t))
for (i in seq_along(random)) for (j in seq_len(i)) out <- c(out, sprintf("%s ~~ %s", random[i], random[j]))
for (r in random) out <- c(out, sprintf("%s ~~ 0*wa1 + 0*ws1", r))
seconds <- numeric()
for (k in seq_len(repeats)) {
  started <- clock()
  fit <- suppressWarnings(lavaan(paste(out, collapse = "\n"), data, missing = "ml"))
  seconds <- c(seconds, clock() - started)
}
proper <- suppressWarnings(lavInspect(fit, "converged") && lavInspect(fit, "post.check"))
cat(sprintf('{"seconds": [%s], "log_likelihood": %.8f, "proper": %s}\n', paste(format(seconds, digits = 8), collapse = ", "),
            as.numeric(logLik(fit)), tolower(proper)))
